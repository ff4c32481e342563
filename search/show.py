"""Studies and recordings as tables in the terminal."""

import warnings
from collections.abc import Sequence
from typing import Literal, get_origin

import optuna
from optuna.trial import TrialState
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from data.info import Info
from models import DENOISERS
from objectives.losses import LOSSES
from search.export import best_trial
from search.live import plain_line, snapshot
from search.space import Parameter, describe, parameters
from search.study import SearchStudy

LEAST_FOR_WEIGHTS = 10


def show_all(searches: Sequence[SearchStudy], engine: Engine, console: Console) -> None:
    """One line a study."""
    if not searches:
        console.print("no study yet; make one: drivebeat create STUDY.toml")
        return
    table = _table("study", "model", right=("finished", "pruned", "failed", "metric", "best"))
    for search in searches:
        snap = snapshot(search, engine)
        table.add_row(
            snap.name,
            search.space.model.name,
            f"{snap.finished}/{snap.budget}",
            str(snap.pruned),
            str(snap.failed),
            snap.metric,
            snap.best,
        )
    console.print(table)


def show_study(search: SearchStudy, engine: Engine, console: Console) -> None:
    """The space with type, range, default and fixed value; progress; the best trial; importances."""
    console.print(plain_line(snapshot(search, engine)), soft_wrap=True, highlight=False, markup=False)
    spec = search.spec
    console.print(
        f"model {search.space.model.name}, loss {spec.loss}, sampler {spec.sampler.name}, pruner {spec.pruner.name}, "
        f"{spec.epochs} epochs, seed {spec.seed}, data {search.fingerprint}",
        highlight=False,
        markup=False,
    )
    best = best_trial(search)
    importances = _importances(search)
    table = _table("parameter", "type", "range", right=("default", "best", *(("weight",) if importances else ())))
    for name, parameter in parameters(search.space.model, search.space.loss).items():
        distribution = search.space.sampled.get(name)
        fixed = search.space.fixed.get(name)
        if distribution is None and fixed is None and parameter.distribution is None:
            continue
        cells = [
            name,
            _type_name(parameter.type),
            describe(distribution) if distribution else "at its default" if fixed is None else f"fixed {_short(fixed)}",
            _short(parameter.default),
            _short(best.params[name]) if best and name in best.params else "",
        ]
        if importances:
            cells.append(f"{importances[name]:.2f}" if name in importances else "")
        table.add_row(*cells)
    console.print(table)
    if importances:
        console.print("weight: share of the differences in score that the parameter explains", highlight=False)


def show_models(console: Console) -> None:
    """Every model family with its parameters and ranges, then what all runs share."""
    losses = next(iter(LOSSES.values()))
    for name, model in DENOISERS.items():
        own = [p for p in parameters(model, losses).values() if p.section == "model"]
        console.print(f"[bold]{name}[/bold]" + ("" if own else ": no parameters"), highlight=False)
        if own:
            console.print(_parameter_table(own))
    for name, loss in LOSSES.items():
        own = [p for p in parameters(next(iter(DENOISERS.values())), loss).values() if p.section == "loss"]
        console.print(f"[bold]loss {name}[/bold]" + ("" if own else ": no parameters"), highlight=False)
        if own:
            console.print(_parameter_table(own))
    for section in ("optimiser", "schedule", "fit"):
        shared = parameters(next(iter(DENOISERS.values())), losses).values()
        console.print(f"[bold]{section}[/bold]", highlight=False)
        console.print(_parameter_table([p for p in shared if p.section == section]))


def _parameter_table(rows: Sequence[Parameter]) -> Table:
    table = _table("parameter", "type", "range", right=("default",))
    for parameter in rows:
        searched = describe(parameter.distribution) if parameter.distribution else "not searched by itself"
        table.add_row(parameter.name, _type_name(parameter.type), searched, _short(parameter.default))
    return table


def _table(*left: str, right: Sequence[str]) -> Table:
    """An empty table with these columns, aligned to their sides."""
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1), highlight=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _type_name(hint: object) -> str:
    if get_origin(hint) is Literal:
        return "choice"
    return getattr(hint, "__name__", str(hint))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _importances(search: SearchStudy) -> dict[str, float]:
    """Optuna's parameter importances; none before there are enough trials to tell."""
    if len(search.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < LEAST_FOR_WEIGHTS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(search.study)
        except (ValueError, RuntimeError, ZeroDivisionError):  # all scores alike, or a single parameter
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
