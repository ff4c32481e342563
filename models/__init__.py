"""Denoisers: [batch, channel, time] in, [batch, 1, time] out. One file each; importing the package finds all."""

import importlib
import pkgutil

from models.base import DENOISERS, DenoiserConfig

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["DENOISERS", "DenoiserConfig"]
