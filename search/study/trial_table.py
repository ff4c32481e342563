"""The trials of a study as a table: Study.trials in Python, and `drivebeat show STUDY --csv`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.trials import (
    BEST_EPOCH,
    BY_SNR,
    DEVICE,
    LATENCY_MS,
    N_PARAMETERS,
    REASON,
    SECONDS,
    WORKER,
    attributes_of,
    fate_of,
)
from training.evaluation.names import OWN_SCORE_NAMES

COLUMNS = ("number", "state", "value", "epochs", "best_epoch", "n_parameters", "latency_ms")
PARAM = "params_"  # + the name of a sampled parameter
LAST_COLUMNS = ("started", "ended", "duration_s", "training_s", "worker", "device", "reason")
STUDY = "study"  # the column of trials.csv before all others
OTHER_COLUMNS = frozenset({STUDY, *COLUMNS, *LAST_COLUMNS})
SNR = re.compile(r"[+-]?\d+(\.\d+)?")  # in dB, as in the name of a score


def columns_of(rows: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Return the columns of a table of `rows`: sampled parameters and scores stand in the middle, sorted."""
    between = dict.fromkeys(name for row in rows for name in row)
    sampled = sorted(name for name in between if name.startswith(PARAM))
    scores = sorted((name for name in between if is_score(name)), key=_name_and_snr)
    return [*COLUMNS, *sampled, *scores, *LAST_COLUMNS]


def is_score(name: str) -> bool:
    """Return whether a column of the table is a score, or a score at an SNR: "si_sdr_db@-5"."""
    return name not in OTHER_COLUMNS and not name.startswith(PARAM)


def _scores_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores among the attributes of a trial: those of Drivebeat, and those that plug-ins have measured.

    The plug-ins are not executed: the attribute BY_SNR has the names of all scores.
    """
    known = {*OWN_SCORE_NAMES, *(name for scores in own.get(BY_SNR, {}).values() for name in scores)}
    found = {}
    for name, value in own.items():
        score, at, snr_db = name.partition("@")
        if score in known and is_score(name) and (not at or SNR.fullmatch(snr_db) is not None):
            found[name] = value
    return found


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
        **_scores_of(own),
        "started": started,
        "ended": ended,
        "duration_s": (ended - started).total_seconds() if started is not None and ended is not None else None,
        "training_s": own.get(SECONDS),
        "worker": own.get(WORKER),
        "device": own.get(DEVICE),
        "reason": own.get(REASON),
    }
