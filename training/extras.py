"""The packages of the extra `train`: without them, Drivebeat shows studies but neither creates nor trains any.

This module imports none of them. docs/adr/0015-a-core-without-torch.md says which commands work without them.
"""

import sys
from importlib.util import find_spec

# Names of imports, by the names of pyproject.toml's extra `train`. Not read from the metadata of the installation: an
# editable one keeps the metadata of the day it was made.
TRAIN = {
    "torch": "torch",
    "scipy": "scipy",
    "pandas": "pandas",
    "neptune": "neptune",
    "h5py": "h5py",
    "wfdb": "wfdb",
    "soundfile": "soundfile",
    "pyedflib": "pyedflib",
    "PyWavelets": "pywt",
    "safetensors": "safetensors",
    "cmaes": "cmaes",
}
INSTALL = "pip install 'drivebeat[train]'"


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return module in sys.modules or find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def absent_packages() -> list[str]:
    """Return the packages of the extra `train` that are not installed."""
    return [package for package, module in TRAIN.items() if not is_installed(module)]


def missing_package(error: BaseException) -> str:
    """Return the package of the extra `train` whose absence `error` reports; "" for any other error."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    module = (error.name or "").partition(".")[0]
    return next((package for package, name in TRAIN.items() if name == module), "")


def needs(what: str, package: str) -> str:
    """Return the line about `what`, a command or a function, that needs a missing package."""
    return f"`{what}` needs {package}, which is not installed: {INSTALL}"
