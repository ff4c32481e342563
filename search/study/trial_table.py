"""The trials of a study as a table: Study.trials in Python, and `drivebeat show STUDY --csv`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.trials import (
    BEST_EPOCH,
    DEVICE,
    LATENCY_MS,
    N_PARAMETERS,
    REASON,
    SECONDS,
    WORKER,
    attributes_of,
    fate_of,
)
from training.evaluation.scores import SCORES

COLUMNS = ("number", "state", "value", "epochs", "best_epoch", "n_parameters", "latency_ms")
PARAM = "params_"  # + the name of a sampled parameter
LAST_COLUMNS = ("started", "ended", "duration_s", "training_s", "worker", "device", "reason")
SNR = re.compile(r"[+-]?\d+(\.\d+)?")  # in dB, as in the name of a score


def columns_of(rows: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Return the columns of a table of `rows`: sampled parameters and scores stand in the middle, sorted."""
    between = dict.fromkeys(name for row in rows for name in row)
    sampled = sorted(name for name in between if name.startswith(PARAM))
    scores = sorted((name for name in between if is_score(name)), key=_name_and_snr)
    return [*COLUMNS, *sampled, *scores, *LAST_COLUMNS]


def is_score(name: str) -> bool:
    """Return whether an attribute is a score, or a score at an SNR: "si_sdr_db@-5"."""
    score, at, snr_db = name.partition("@")
    return score in SCORES and (not at or SNR.fullmatch(snr_db) is not None)


def _name_and_snr(score: str) -> tuple[str, float]:
    """Return the key by which scores are sorted: the name, its mean first, then each SNR in dB from the lowest."""
    name, _, snr_db = score.partition("@")
    return name, float(snr_db or "-inf")


def trial_row(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as a row of the table, with the keys that it has."""
    own = attributes_of(trial)
    started, ended = trial.datetime_start, trial.datetime_complete
    return {
        "number": trial.number,
        "state": str(fate_of(trial)),
        "value": trial.value,
        "epochs": len(trial.intermediate_values),
        "best_epoch": None if (best := own.get(BEST_EPOCH)) is None else best + 1,
        "n_parameters": own.get(N_PARAMETERS),
        "latency_ms": own.get(LATENCY_MS),
        **{f"{PARAM}{name}": value for name, value in trial.params.items()},
        **{name: value for name, value in own.items() if is_score(name)},
        "started": started,
        "ended": ended,
        "duration_s": (ended - started).total_seconds() if started is not None and ended is not None else None,
        "training_s": own.get(SECONDS),
        "worker": own.get(WORKER),
        "device": own.get(DEVICE),
        "reason": own.get(REASON),
    }
