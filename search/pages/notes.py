"""A trial's note for the dashboard: what came of it, in Markdown, told by nothing but the trial as it is stored."""

import json
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from search.storage.fast.reads import system_attributes
from search.trials import (
    BEST_EPOCH,
    BY_SNR,
    DEVICE,
    LATENCY_MS,
    MODEL,
    N_PARAMETERS,
    REASON,
    RESUMED,
    SECONDS,
    WORKER,
    Fate,
    fate_of,
)
from training.evaluation.scores import EVENT_TOLERANCE_S
from training.evaluation.showcase import PITCH_FACTOR
from training.numbers import short
from training.report import shown_snr

ARTIFACT = "artifacts:"
TRAINED, TOLD, CLEARED = 1, 2, 3  # a note's version says who wrote it; a person's edit makes it one more
ATTRIBUTE_LENGTH = 2045  # of optuna_dashboard: no attribute is longer


def note_ver_key(trial_id: int | None) -> str:
    """Where optuna_dashboard keeps a note's version; importing it for this would cost a worker a second."""
    return "dashboard:note_ver" if trial_id is None else f"dashboard:{trial_id}:note_ver"


def note_str_key_prefix(trial_id: int | None) -> str:
    """Where it keeps the text: in parts, their number behind this."""
    return "dashboard:note_str:" if trial_id is None else f"dashboard:{trial_id}:note_str:"


def split_text(text: str, prefix: str) -> dict[str, str]:
    """`text` in attributes named `prefix` and a number, none longer than it allows."""
    starts = range(0, len(text), ATTRIBUTE_LENGTH)
    return {f"{prefix}{i}": text[start : start + ATTRIBUTE_LENGTH] for i, start in enumerate(starts)}


SHOWN = {
    "si_sdr_db": ("SI-SDR dB", ".2f"),
    "event_f1": (f"event F1 (±{1000 * EVENT_TOLERANCE_S:.0f} ms)", ".2f"),
    "hr_within_5_bpm": ("heart rate within 5 bpm", ".0%"),
    "hr_error_bpm": ("heart-rate error bpm (median)", ".1f"),
}


def put_note(storage: BaseStorage, study_id: int, trial_id: int | None, body: str, version: int) -> None:
    """The note of a trial, or of the study (None): the first one, or one in no more parts than there were.

    As optuna_dashboard.save_note, which reads the notes of all the study's trials, twice, to write one.
    """
    text: dict[str, str | int] = {**split_text(body, note_str_key_prefix(trial_id))}
    for key, value in {**text, note_ver_key(trial_id): version}.items():
        storage.set_study_system_attr(study_id, key, value)


def replace_note(
    storage: BaseStorage, engine: Engine, study_id: int, trial_id: int | None, body: str, version: int | None = None
) -> bool:
    """The same where a longer one may be. False, and nothing done, where somebody edited it by hand.

    version: the one it is to have, which only a person's edit reaches before; None takes the next one, always.
    """
    text, counter = note_str_key_prefix(trial_id), note_ver_key(trial_id)
    there = system_attributes(engine, study_id, f"{text}%", counter)
    if version is not None and int(there.get(counter, 0)) >= version:
        return False
    parts = split_text(body, note_str_key_prefix(trial_id))
    for key in there.keys() - parts.keys() - {counter}:
        storage.set_study_system_attr(study_id, key, "")
    put_note(storage, study_id, trial_id, body, version or int(there.get(counter, 0)) + 1)
    return True


def artifacts_of(trial: FrozenTrial) -> dict[str, str]:
    """File name -> id of the artifacts that a trial has, or had."""
    metas = [json.loads(value) for key, value in trial.system_attrs.items() if key.startswith(ARTIFACT)]
    return {meta["filename"]: meta["artifact_id"] for meta in metas if meta is not None}


def note_of(trial: FrozenTrial, study_id: int, *, cleared: bool = False) -> str:
    """The note. cleared: its artifacts were removed."""
    attributes = trial.user_attrs
    parts = [_headline(trial)]
    if trial.constraints and any(value > 0 for value in trial.constraints.values()):
        over = ", ".join(f"{name} by {value:,.6g}" for name, value in trial.constraints.items() if value > 0)
        parts.append(f"**Infeasible**: over its limit in {over}; never the best, never exported.")
    if attributes.get(REASON):
        parts.append(f"**Why {fate_of(trial)}**: {_plain(attributes[REASON])}")
    if attributes.get(BY_SNR):
        parts.append(_table(attributes[BY_SNR]))
    files = {} if cleared else artifacts_of(trial)
    place = f"/artifacts/{study_id}/{trial._trial_id}"
    if "window.png" in files:
        parts.append(f"![noisy, clean, estimate: one window of the validation mixture]({place}/{files['window.png']})")
    sounds = [
        f"[{name}]({place}/{files[f'{name}.wav']})" for name in ("noisy", "clean", "estimate") if f"{name}.wav" in files
    ]
    if sounds:
        parts.append(
            f"Listen: {', '.join(sounds)} (players under Artifacts), of the same window, pitched up {PITCH_FACTOR} "
            f"times: 25-55 Hz sound at {25 * PITCH_FACTOR}-{55 * PITCH_FACTOR} Hz, beats stay where they are."
        )
    if "run.yaml" in files:
        parts.append(
            f"The resolved config: [run.yaml]({place}/{files['run.yaml']}) (to download under Artifacts); train it: "
            f"`drivebeat train run.yaml -o runs/trial-{trial.number}`"
        )
    if cleared:
        parts.append(
            "*Its figure, sounds and config were removed: the study keeps those of its best and its latest trials "
            "(`[artifacts]` in the study file). Its scores stay.*"
        )
    if trial.params:
        rows = "\n".join(f"| {name} | {short(value, 6)} |" for name, value in sorted(trial.params.items()))
        parts.append(f"| parameter | value |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"


def _headline(trial: FrozenTrial) -> str:
    a = trial.user_attrs
    fate = fate_of(trial)
    state = "trained, not told yet" if fate == Fate.RUNNING and BY_SNR in a else fate
    value = trial.values[0] if trial.values else None  # of a pruned trial its last report
    words = [f"**{state}**" if value is None else f"**{state}, score {value:+.3f}**"]
    if trial.last_step is not None:
        best = f" (best: {a[BEST_EPOCH] + 1})" if isinstance(a.get(BEST_EPOCH), int) else ""
        words.append(f"{trial.last_step + 1} epochs{best}")
    if MODEL in a:
        words.append(str(a[MODEL]))
    if N_PARAMETERS in a:
        words.append(f"{a[N_PARAMETERS]:,} parameters")
    if LATENCY_MS in a:
        words.append(f"{a[LATENCY_MS]:g} ms a window")
    if SECONDS in a:
        words.append(_duration(a[SECONDS]))
    if DEVICE in a:
        words.append(f"on {a[DEVICE]}" + (f" of {a[WORKER].split(':')[0]}" if a.get(WORKER) else ""))
    if a.get(RESUMED):
        words.append(f"taken on from another worker {a[RESUMED]} times")
    return ", ".join(words)


def _table(by_snr: Mapping[str, Mapping[str, Any]]) -> str:
    names = [name for name in SHOWN if any(name in scores for scores in by_snr.values())]
    lines = [
        f"| mixture | {' | '.join(SHOWN[name][0] for name in names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for snr, scores in sorted(by_snr.items(), key=lambda row: float(row[0])):
        cells = " | ".join(_cell(scores.get(name), SHOWN[name][1]) for name in names)
        lines.append(f"| {shown_snr(float(snr))} dB | {cells} |")
    return "\n".join(lines)


def _cell(value: Any, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _plain(text: str) -> str:
    """A reason as text: what a library said may hold Markdown by accident."""
    return "".join(f"\\{c}" if c in "\\`*_<>[]|#" else c for c in text)


def finish_note(study: optuna.Study, engine: Engine, trial_id: int) -> None:
    """Write the note of a trial that was told."""
    storage, study_id = study._storage, study._study_id
    replace_note(storage, engine, study_id, trial_id, note_of(storage.get_trial(trial_id), study_id), TOLD)
