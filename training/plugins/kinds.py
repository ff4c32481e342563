"""The tables that plug-ins and installed packages register in, and which package a registered class is from."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from data.entry_points import distribution_of
from data.readers.read import READERS
from models.base import DENOISERS, DenoiserConfig
from objectives.losses import LOSSES, LossConfig
from objectives.metrics import METRICS
from training.evaluation.scores import OWN_SCORES


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of thing that can be registered.

    table: the registered ones by name. added_with: those in the table when the kind was added.
    """

    name: str
    table: MutableMapping[str, Any]
    added_with: Mapping[str, Any]


KINDS: list[Kind] = []


def add_kind(name: str, table: MutableMapping[str, Any]) -> None:
    """Let plug-ins register in `table`, which has Drivebeat's own by now.

    A module of a higher layer adds its kind when it is imported. A plug-in may be the first that imports it, so a kind
    may be added while a plug-in is executed.
    """
    KINDS.append(Kind(name, table, dict(table)))


add_kind("model", DENOISERS)
add_kind("loss", LOSSES)
add_kind("metric", METRICS)
add_kind("metric", OWN_SCORES)
add_kind("reader", READERS)


def installed_origins(model: type[DenoiserConfig], loss: type[LossConfig]) -> dict[str, dict[str, str]]:
    """Return distribution and version of the entry points that gave a model and a loss, by "model" and "loss".

    Empty for built-ins and plug-ins.
    """
    found = {}
    for kind, module in (("model", model.__module__), ("loss", loss.__module__)):
        origin = distribution_of(kind, module)
        if origin is not None:
            found[kind] = {"distribution": origin[0], "version": origin[1]}
    return found
