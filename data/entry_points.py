"""Models, losses, metrics, readers and samplers that installed packages offer by entry points.

An entry point of one of the groups below names a module, or an object in it, whose import registers them. It is
imported the first time that a name is looked up which is not registered yet, or that all names are listed.
"""

import functools
import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

LOGGER = logging.getLogger("drivebeat.entry_points")
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "model": "drivebeat.models",
        "loss": "drivebeat.losses",
        "metric": "drivebeat.metrics",
        "reader": "drivebeat.readers",
        "sampler": "drivebeat.samplers",
    }
)


@functools.cache
def load_installed(kind: str) -> None:
    """Import all entry points of a kind, once a process. A kind that is none of GROUPS has none.

    An entry point that cannot be imported is logged as a warning, which names its distribution.
    """
    for entry in _entries(kind):
        try:
            entry.load()
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            name, version = _distribution(entry)
            LOGGER.warning(
                "entry point %s of %s %s (%s) cannot be loaded (%s); repair or uninstall that package",
                entry.name,
                name,
                version,
                GROUPS[kind],
                reason,
            )


def distribution_of(kind: str, module: str) -> tuple[str, str] | None:
    """Return name and version of the distribution whose entry point of a kind is in the package of `module`.

    None where there is no such entry point: a built-in, or a plug-in.
    """
    package = module.partition(".")[0]
    return next((_distribution(entry) for entry in _entries(kind) if entry.module.partition(".")[0] == package), None)


def _entries(kind: str) -> list[EntryPoint]:
    found = entry_points(group=GROUPS[kind]) if kind in GROUPS else ()
    return sorted(found, key=lambda entry: (*_distribution(entry), entry.name))


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution that has the entry point."""
    if entry.dist is None:
        return "an unknown distribution", "?"
    return entry.dist.name, entry.dist.version
