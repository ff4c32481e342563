"""Imports of the packages of the extra `onnx`."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from packaging.version import Version

from training.errors import ConfigError

LEAST_TORCH = Version("2.13")  # earlier ones have not been tried
NEEDED = ("onnx", "onnxruntime", "onnxscript")


def needed() -> tuple[Any, Any]:
    """Import the packages that an export needs and return onnx and onnxruntime.

    Raises ConfigError, which names the extra, if one is missing, and for a torch that is too old.
    """
    if Version(torch.__version__).release < LEAST_TORCH.release:
        raise ConfigError(f"an export needs torch {LEAST_TORCH} or newer, this is {torch.__version__}; upgrade torch")
    try:
        onnx, onnxruntime, _ = (importlib.import_module(name) for name in NEEDED)
    except ImportError as error:
        raise ConfigError(f"an export needs {', '.join(NEEDED)} ({error}); pip install 'drivebeat[onnx]'") from error
    return onnx, onnxruntime


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and log lines of the exporters, which are about their own internals, off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
