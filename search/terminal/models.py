"""Print tables of the model families: the cost of each and the parameters that can be searched."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from data.entry_points import load_installed
from models import DENOISERS
from objectives.losses import LOSSES
from search.study.costs import STEP_WINDOWS, At, FamilyCost, family_costs
from search.study.space import Parameter, describe, parameters
from search.terminal.status import new_table
from search.terminal.tables import type_name
from training.decode import pick
from training.numbers import short

SHARED = ("optimiser", "schedule", "fit", "front", "beats", "live", "augment")


def show_models(console: Console, at: At = At()) -> None:  # noqa: B008 - a frozen value
    """Print the cost of every family at its defaults, the parameters of each family and loss, and the shared ones.

    at: rate, window and channels to compute the costs for.
    """
    _load_installed()
    _print_costs(family_costs(tuple(DENOISERS), at), at, console)
    for name in DENOISERS:
        _print_parameters(name, _own(name), console)
    for name in LOSSES:
        _print_parameters(f"loss {name}", _of_loss(name), console)
    for section, rows in _shared().items():
        _print_parameters(section, rows, console)


def show_model(name: str, console: Console, at: At = At()) -> None:  # noqa: B008 - a frozen value
    """Print the cost and parameters of one family. Raises ConfigError with the nearest name for an unknown one."""
    pick(DENOISERS, name, "--model", "model")
    _print_costs(family_costs((name,), at), at, console)
    _print_parameters(name, _own(name), console)


def models_document(at: At, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return costs and parameters as plain values for JSON.

    at: rate, window and channels to compute the costs for.
    names: the families, all of them if it is empty.

    receptive_field_s is None where it is the whole signal. range is None for a parameter that is not searched unless
    the study gives a range.
    """
    _load_installed()
    for name in names:
        pick(DENOISERS, name, "--model", "model")
    return {
        "at": dataclasses.asdict(at),
        "families": [
            {**dataclasses.asdict(cost), "parameters": [_plain(p) for p in _own(cost.name)]}
            for cost in family_costs(tuple(names or DENOISERS), at)
        ],
        "losses": {name: [_plain(p) for p in _of_loss(name)] for name in LOSSES},
        "shared": {section: [_plain(p) for p in rows] for section, rows in _shared().items()},
    }


def _load_installed() -> None:
    """Load the models and losses of installed packages, so that they are listed."""
    for kind in ("model", "loss"):
        load_installed(kind)


def _print_costs(costs: Sequence[FamilyCost], at: At, console: Console) -> None:
    headings = ("params", "MMAC/s", "ms", "sees", "step ms")
    table = new_table("family", right=headings)
    for cost in costs:
        sees = "whole window" if cost.receptive_field_s is None else f"{cost.receptive_field_s:.3g} s"
        table.add_row(
            cost.name,
            f"{cost.n_parameters:,}",
            f"{cost.macs_per_second / 1e6:.2f}",
            f"{cost.latency_ms:.1f}",
            sees,
            f"{cost.step_ms:.0f}",
        )
    console.print(table)
    channels = f"{at.n_channels} channel" + ("s" if at.n_channels > 1 else "")
    threads = f"{at.threads} CPU thread" + ("s" if at.threads > 1 else "")
    console.print(
        f"At each family's defaults, {channels} at {at.rate_hz:g} Hz, {threads}; a window is {at.window_samples} "
        f"samples ({at.window_samples / at.rate_hz:.3g} s). MMAC/s: million multiply-accumulates per second of signal "
        "(FFTs not counted). ms: latency of one window. sees: the receptive field. step ms: forward and backward "
        f"pass through {STEP_WINDOWS} windows.\n",
        highlight=False,
    )


def _print_parameters(title: str, rows: Sequence[Parameter], console: Console) -> None:
    console.print(title + ("" if rows else ": no parameters"), style="bold", highlight=False)
    if rows:
        console.print(_parameter_table(rows))


def _parameter_table(rows: Sequence[Parameter]) -> Table:
    table = new_table("parameter", "type", "range", right=("default",))
    for parameter in rows:
        searched = describe(parameter.distribution) if parameter.distribution else "not searched by default"
        table.add_row(parameter.name, type_name(parameter.type), searched, short(parameter.default))
    return table


def _own(model: str) -> list[Parameter]:
    """Return the parameters of a family's own config. They do not depend on the loss, so any loss is used."""
    return _section(model, next(iter(LOSSES)), "model")


def _of_loss(loss: str) -> list[Parameter]:
    return _section(next(iter(DENOISERS)), loss, "loss")


def _shared() -> dict[str, list[Parameter]]:
    """Return the parameters that every run has, by section."""
    return {section: _section(next(iter(DENOISERS)), next(iter(LOSSES)), section) for section in SHARED}


def _section(model: str, loss: str, section: str) -> list[Parameter]:
    return [p for p in parameters(DENOISERS[model], LOSSES[loss]).values() if p.section == section]


def _plain(parameter: Parameter) -> dict[str, Any]:
    default = parameter.default
    return {
        "name": parameter.name,
        "type": type_name(parameter.type),
        "range": describe(parameter.distribution) if parameter.distribution else None,
        "default": default if isinstance(default, bool | int | float | str | None) else str(default),
    }
