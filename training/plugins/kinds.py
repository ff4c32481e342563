"""The tables that plug-ins and installed packages register in, and which package a registered class is from."""

from collections.abc import MutableMapping
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
    """A kind of thing that can be registered. table: the registered ones by name."""

    name: str
    table: MutableMapping[str, Any]


# search.sampling.samplers has a table too, which only studies use.
KINDS = (
    Kind("model", DENOISERS),
    Kind("loss", LOSSES),
    Kind("metric", METRICS),
    Kind("metric", OWN_SCORES),
    Kind("reader", READERS),
)


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
