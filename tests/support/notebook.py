"""Execute notebooks with this interpreter and this checkout; no kernel has to be installed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient

from tests.support.program import ROOT

KERNEL = "this-python"


def install_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch, *, path: str = str(ROOT)) -> str:
    """Make a kernel in `folder` that is this interpreter with this checkout, and return its name.

    path: PYTHONPATH, which comes before the notebook's folder; "" takes the installed checkout, which comes after it.
    """
    home = folder / "jupyter"
    (home / "kernels" / KERNEL).mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": KERNEL,
        "language": "python",
        "env": {"PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython")},
    }
    (home / "kernels" / KERNEL / "kernel.json").write_text(json.dumps(spec))
    for name in ("PATH", "RUNTIME_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"JUPYTER_{name}", str(home))
    for name in ("DRIVEBEAT_STORAGE", "DRIVEBEAT_ARTIFACTS", "DRIVEBEAT_TRACKERS"):
        monkeypatch.delenv(name, raising=False)
    return KERNEL


def execute(notebook: Any, folder: Path, kernel: str) -> None:
    """Execute all cells in the folder; their outputs are then in `notebook`. Raises CellExecutionError."""
    NotebookClient(notebook, timeout=300, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}).execute()
