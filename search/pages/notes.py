"""A trial's note for the dashboard: its result in Markdown, made from the stored trial alone."""

import math
import re
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
    artifacts_of,
    attributes_of,
    fate_of,
)
from training.evaluation.scores import EVENT_TOLERANCE_S
from training.evaluation.showcase import PITCH_FACTOR
from training.numbers import short
from training.report import shown_snr

# The version of a note says when it was written: as the trial ended, or as its artifacts were removed. Each edit in the
# dashboard adds one to it. Older versions wrote a note of version 1 before the trial ended.
WRITTEN_AT_END, WRITTEN_BY_RETENTION = 2, 3
ATTRIBUTE_LENGTH = 2045  # optuna_dashboard splits a text into attributes of this length
SHOWN = {
    "si_sdr_db": ("SI-SDR dB", ".2f"),
    "event_f1": (f"event F1 (±{1000 * EVENT_TOLERANCE_S:.0f} ms)", ".2f"),
    "hr_within_5_bpm": ("heart rate within 5 bpm", ".0%"),
    "hr_error_bpm": ("heart-rate error bpm (median)", ".1f"),
    "usable_time": ("usable time less errors", ".2f"),
}


def note_ver_key(trial_id: int | None) -> str:
    """Return the key of a note's version; None: of the study's note.

    As in optuna_dashboard, whose import takes a second.
    """
    return "dashboard:note_ver" if trial_id is None else f"dashboard:{trial_id}:note_ver"


def note_str_key_prefix(trial_id: int | None) -> str:
    """Return what the keys of a note's text begin with, before the number of a part; None: of the study's note."""
    return "dashboard:note_str:" if trial_id is None else f"dashboard:{trial_id}:note_str:"


def split_text(text: str, prefix: str) -> dict[str, str]:
    """Split `text` into attributes named `prefix` + number, each at most ATTRIBUTE_LENGTH long."""
    starts = range(0, len(text), ATTRIBUTE_LENGTH)
    return {f"{prefix}{i}": text[start : start + ATTRIBUTE_LENGTH] for i, start in enumerate(starts)}


def put_note(storage: BaseStorage, study_id: int, trial_id: int | None, body: str, version: int) -> None:
    """Write the note of a trial, or of the study (trial_id None), with its version.

    Parts of an earlier note with more parts stay: see replace_note. optuna_dashboard.save_note does the same, but it
    reads the notes of all trials of the study twice.
    """
    text: dict[str, str | int] = {**split_text(body, note_str_key_prefix(trial_id))}
    for key, value in {**text, note_ver_key(trial_id): version}.items():
        storage.set_study_system_attr(study_id, key, value)


def replace_note(
    storage: BaseStorage, engine: Engine, study_id: int, trial_id: int | None, body: str, version: int | None = None
) -> bool:
    """Write a note in place of an earlier one, and clear the parts that it leaves over.

    version: the new note's. A stored note of this version or a later one was edited in the dashboard and stays. None:
    replace any note, and add one to its version.

    Returns whether the note was written.
    """
    prefix, version_key = note_str_key_prefix(trial_id), note_ver_key(trial_id)
    stored = system_attributes(engine, study_id, f"{prefix}%", version_key)
    if version is not None and int(stored.get(version_key, 0)) >= version:
        return False
    parts = split_text(body, prefix)
    for key in stored.keys() - parts.keys() - {version_key}:
        storage.set_study_system_attr(study_id, key, "")
    put_note(storage, study_id, trial_id, body, version or int(stored.get(version_key, 0)) + 1)
    return True


def note_of(trial: FrozenTrial, study_id: int, *, removed: bool = False) -> str:
    """Return the note of `trial` in Markdown. removed: its artifacts were removed."""
    attributes = attributes_of(trial)
    parts = [_headline(trial)]
    if trial.constraints and any(value > 0 for value in trial.constraints.values()):
        excess = ", ".join(f"{name} by {value:,.6g}" for name, value in trial.constraints.items() if value > 0)
        parts.append(f"**Infeasible**: over its limit in {excess}; never the best, never exported.")
    if attributes.get(REASON):
        parts.append(f"**Why {fate_of(trial)}**: {_plain(attributes[REASON])}")
    if attributes.get(BY_SNR):
        parts.append(_table(attributes[BY_SNR]))
    files = {} if removed else artifacts_of(trial.system_attrs)
    place = f"/artifacts/{study_id}/{trial._trial_id}"
    if "window.png" in files:
        parts.append(f"![noisy, clean, estimate: one window of the validation mixture]({place}/{files['window.png']})")
    sounds = [
        f"[{name}]({place}/{files[f'{name}.wav']})" for name in ("noisy", "clean", "estimate") if f"{name}.wav" in files
    ]
    if sounds:
        parts.append(
            f"Listen: {', '.join(sounds)} (players under Artifacts), of the same window, pitched up {PITCH_FACTOR} "
            f"times: 25-55 Hz sound at {25 * PITCH_FACTOR}-{55 * PITCH_FACTOR} Hz, the timing of the beats is kept."
        )
    if "run.yaml" in files:
        parts.append(
            f"The resolved config: [run.yaml]({place}/{files['run.yaml']}) (to download under Artifacts); train it: "
            f"`drivebeat train run.yaml -o runs/trial-{trial.number}`"
        )
    if removed:
        parts.append(
            "*Its figure, sounds and config were removed: the study keeps those of its best and its latest trials "
            "(`[artifacts]` in the study file). Its scores are kept.*"
        )
    if trial.params:
        rows = "\n".join(f"| {name} | {short(value, 6)} |" for name, value in sorted(trial.params.items()))
        parts.append(f"| parameter | value |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"


def _headline(trial: FrozenTrial) -> str:
    """Return the first line of the note: fate, score, epochs, model and cost."""
    a = attributes_of(trial)
    fate = fate_of(trial)
    value = trial.values[0] if trial.values else None  # of a pruned trial: its last report
    words = [f"**{fate}**" if value is None else f"**{fate}, score {value:+.3f}**"]
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
        words.append(f"continued by another worker {a[RESUMED]} times")
    return ", ".join(words)


def _table(by_snr: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the scores (SNR -> score -> value) as a Markdown table with a row for each SNR."""
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


def code(text: str) -> str:
    """Return `text` as code in Markdown, between more backticks than it has in a row."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return f"`{text}`" if longest == 0 else f"{'`' * (longest + 1)} {text} {'`' * (longest + 1)}"


def _plain(text: str) -> str:
    """Escape Markdown in `text`, for an error message may contain its characters."""
    return "".join(f"\\{c}" if c in "\\`*_<>[]|#" else c for c in text)


def finish_note(study: optuna.Study, engine: Engine, trial_id: int) -> None:
    """Write the note of a finished trial."""
    storage, study_id = study._storage, study._study_id
    note = note_of(storage.get_trial(trial_id), study_id)
    replace_note(storage, engine, study_id, trial_id, note, WRITTEN_AT_END)
