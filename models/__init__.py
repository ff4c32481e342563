"""Denoisers, which map noisy [batch, channel, time] to an estimate [batch, 1, time].

Each model family is a file; importing the package registers all of them in DENOISERS.
"""

import importlib
import pkgutil

from models.base import DENOISERS, DenoiserConfig

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["DENOISERS", "DenoiserConfig"]
