"""Print tables of studies and recordings."""

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_origin

import optuna
from optuna.trial import TrialState
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from data.config import HEART_BAND_HZ
from search.errors import PluginError
from search.study.record import StudyLike
from search.study.space import describe, parameters, usable_view
from search.study.status import snapshot
from search.study.study import Study, decode_study
from search.terminal.status import new_table, plain_line
from search.trials import COLLAPSED, REASON, best_trial
from training.numbers import short

if TYPE_CHECKING:
    from data.corpus import Corpus
    from data.info import Info

MIN_FOR_IMPORTANCES = 10
SHOWN_REASONS = 5


def show_study(record: StudyLike, engine: Engine, console: Console) -> None:
    """Print the progress of a study, its space with defaults and fixed values, its best trial and importances.

    Of a study whose plug-ins cannot be executed here, only the progress and the reason are printed.
    """
    try:
        study = decode_study(record)
    except PluginError as error:
        snap = replace(snapshot(record, engine), problem=str(error))
        console.print(plain_line(snap), soft_wrap=True, highlight=False, markup=False)
        return
    console.print(plain_line(snapshot(study, engine)), soft_wrap=True, highlight=False, markup=False)
    spec = study.spec
    console.print(
        f"model {study.space.model.name}, loss {spec.loss}, sampler {spec.sampler.name}, pruner {spec.pruner.name}, "
        f"{spec.epochs} epochs, seed {spec.seed}, data {study.fingerprint}",
        highlight=False,
        markup=False,
    )
    _show_collapsed(study, console)
    best = best_trial(study.optuna)
    importances = importances_of(study)
    table = new_table("parameter", "type", "range", right=("default", "best", *(("weight",) if importances else ())))
    for name, parameter in parameters(study.space.model, study.space.loss).items():
        distribution = study.space.sampled.get(name)
        fixed = study.space.fixed.get(name)
        if distribution is None and fixed is None and parameter.distribution is None:
            continue
        cells = [
            name,
            type_name(parameter.type),
            describe(distribution) if distribution else "at its default" if fixed is None else f"fixed {short(fixed)}",
            short(parameter.default),
            short(best.params[name]) if best and name in best.params else "",
        ]
        if importances:
            cells.append(f"{importances[name]:.2f}" if name in importances else "")
        table.add_row(*cells)
    console.print(table)
    if importances:
        console.print("weight: share of the differences in score that the parameter explains", highlight=False)


def _show_collapsed(study: Study, console: Console) -> None:
    """Print the trials that were pruned because their output had collapsed, and the reason of each."""
    pruned = study.optuna.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    reasons = ((trial.number, str(trial.user_attrs.get(REASON, ""))) for trial in pruned)
    lines = [f"trial {number} {reason}" for number, reason in reasons if reason.startswith(COLLAPSED)]
    if len(lines) > SHOWN_REASONS:
        lines = [f"{len(lines)} trials collapsed; the last {SHOWN_REASONS}:", *lines[-SHOWN_REASONS:]]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def type_name(hint: object) -> str:
    """Return a parameter's type as one word."""
    if get_origin(hint) is Literal:
        return "choice"
    return getattr(hint, "__name__", str(hint))


def importances_of(study: Study) -> dict[str, float]:
    """Return Optuna's parameter importances, empty with fewer than MIN_FOR_IMPORTANCES complete trials."""
    seen = usable_view(study.optuna, study.space)
    if len(seen.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < MIN_FOR_IMPORTANCES:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(seen)
        except (ValueError, RuntimeError, ZeroDivisionError):  # equal scores, or a single parameter
            return {}


def show_splits(corpus: "Corpus", console: Console) -> None:
    """Print how many recordings, minutes, hearts and vehicles train, validation and test have."""
    table = new_table("split", right=("clean", "minutes", "hearts", "noise", "minutes", "vehicles"))
    for use, totals in corpus.summary.items():
        cells = [(str(total.recordings), f"{total.minutes:.1f}", str(total.groups)) for total in totals]
        table.add_row(use, *cells[0], *cells[1])
    console.print(table)


def show_info(info: "Info", console: Console) -> None:
    """Print the variables of a file, and the channels of the recording read from it."""
    console.print(str(info.path), style="bold", highlight=False)
    for held in info.held:
        console.print(f"  {held}", highlight=False)
    console.print(f"  {info.rate_hz:g} Hz, {info.duration_s:.2f} s, {len(info.channels)} channel(s)", highlight=False)
    if info.rate_hz < 2 * HEART_BAND_HZ[1]:
        console.print(
            f"  too low a rate for the heart's band: {2 * HEART_BAND_HZ[1]:g} Hz are needed, a search refuses the "
            "file unless its source has highest_hz",
            style="yellow",
            highlight=False,
        )
    table = Table("channel", "RMS", "25-55 Hz", "contrast", "kurtosis", box=SIMPLE, pad_edge=False)
    for channel in info.channels:
        band = "unknown" if math.isnan(channel.band_db) else f"{channel.band_db:+.1f} dB of total"
        kurtosis = "-" if math.isnan(channel.kurtosis) else f"{channel.kurtosis:.1f}"
        contrast = "-" if math.isnan(channel.contrast_db) else f"{channel.contrast_db:.1f} dB"
        table.add_row(channel.name, f"{channel.rms:.4g}", band, contrast, kurtosis)
    console.print(table)
    if info.heart_rate_bpm is not None:
        at = f" at {info.ecg_rate_hz:g} Hz" if info.ecg_rate_hz else ""
        poor = f"; not used for scores: {info.ecg_problem}" if info.ecg_problem else ""
        rate = "no rate" if math.isnan(info.heart_rate_bpm) else f"{info.heart_rate_bpm:.1f} bpm"
        console.print(f"  ECG{at}: {info.n_beats} beats, {rate}{poor}", highlight=False)
    for channel in info.channels:
        if text := str(channel.defects):
            console.print(f"  {channel.name}: {text}", highlight=False, markup=False, soft_wrap=True)
    for note in info.notes:
        console.print(f"  note: {note}", highlight=False, markup=False, soft_wrap=True)
