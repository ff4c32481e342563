"""Studies and recordings as tables in the terminal."""

import warnings
from collections.abc import Sequence
from typing import Literal, get_origin

import optuna
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from data.info import Info
from search.export import best_trial
from search.live import plain_line, snapshot
from search.space import describe, parameters
from search.study import SearchStudy


def show_all(searches: Sequence[SearchStudy], engine: Engine, console: Console) -> None:
    """One line a study."""
    if not searches:
        console.print("no study yet; make one: drivebeat create STUDY.toml")
        return
    table = Table("study", "model", "finished", "complete", "pruned", "failed", "best", box=SIMPLE, pad_edge=False)
    for search in searches:
        snap = snapshot(search, engine)
        table.add_row(
            snap.name,
            search.space.model.name,
            f"{snap.finished}/{snap.budget}",
            str(snap.complete),
            str(snap.pruned),
            str(snap.failed),
            f"{snap.metric} {snap.best}",
        )
    console.print(table)


def show_study(search: SearchStudy, engine: Engine, console: Console) -> None:
    """The space with type, range, default and fixed value; progress; the best trial; importances."""
    console.print(plain_line(snapshot(search, engine)), soft_wrap=True, highlight=False)
    spec = search.spec
    console.print(
        f"model {search.space.model.name}, loss {spec.loss}, sampler {spec.sampler.name}, pruner {spec.pruner.name}, "
        f"{spec.epochs} epochs, seed {spec.seed}, data {search.fingerprint}",
        soft_wrap=True,
        highlight=False,
    )
    best = best_trial(search)
    importances = _importances(search)
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("parameter", "type", "range", "default", "best", "weight"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("best", "weight") else "left")
    for name, parameter in parameters(search.space.model, search.space.loss).items():
        distribution = search.space.sampled.get(name)
        fixed = search.space.fixed.get(name)
        if distribution is None and fixed is None and parameter.distribution is None:
            continue
        table.add_row(
            name,
            _type_name(parameter.type),
            describe(distribution) if distribution else f"fixed {parameter.default if fixed is None else fixed}",
            str(parameter.default),
            _short(best.params[name]) if best and name in best.params else "",
            f"{importances[name]:.2f}" if name in importances else "",
        )
    console.print(table)


def _type_name(hint: object) -> str:
    if get_origin(hint) is Literal:
        return "choice"
    return getattr(hint, "__name__", str(hint))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _importances(search: SearchStudy) -> dict[str, float]:
    """Optuna's parameter importances; none before there are enough trials to tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(search.study)
        except (ValueError, RuntimeError, ZeroDivisionError):
            return {}


def show_info(info: Info, console: Console) -> None:
    """What a file holds: its variables, and the channels of the recording read from it."""
    console.print(f"[bold]{info.path}[/bold]", highlight=False)
    for variable in info.variables:
        console.print(f"  variable {variable}", highlight=False, markup=False)
    console.print(f"  {info.rate_hz:g} Hz, {info.duration_s:.2f} s, {len(info.channels)} channel(s)", highlight=False)
    table = Table("channel", "RMS", "25-55 Hz", "kurtosis", box=SIMPLE, pad_edge=False)
    for channel in info.channels:
        table.add_row(
            channel.name, f"{channel.rms:.4g}", f"{channel.band_db:+.1f} dB of all", f"{channel.kurtosis:.1f}"
        )
    console.print(table)
    if info.heart_rate_bpm is not None:
        at = f" at {info.ecg_rate_hz:g} Hz" if info.ecg_rate_hz else ""
        console.print(f"  ECG{at}: {info.n_beats} beats, {info.heart_rate_bpm:.1f} bpm", highlight=False)
