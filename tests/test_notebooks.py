"""The notebooks run from a clean clone, without recordings or a network, and are stored without outputs."""

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.program import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
KERNEL = "this-python"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_stored_without_outputs(path: Path) -> None:
    """A stored output would show results of another version, and each run would change the file."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that is this interpreter with this checkout; none has to be installed."""
    folder = tmp_path / "jupyter" / "kernels" / KERNEL
    folder.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": KERNEL,
        "language": "python",
        "env": {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    for name in ("PATH", "RUNTIME_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"JUPYTER_{name}", str(tmp_path / "jupyter"))
    for name in ("DRIVEBEAT_STORAGE", "DRIVEBEAT_ARTIFACTS", "DRIVEBEAT_TRACKERS"):
        monkeypatch.delenv(name, raising=False)
    return KERNEL


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", ["listen", "study"])
def test_it_runs_from_a_clean_clone(name: str, kernel: str, tmp_path: Path) -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    work = tmp_path / "work"
    work.mkdir()
    NotebookClient(notebook, timeout=300, kernel_name=kernel, resources={"metadata": {"path": str(work)}}).execute()
    shown = kinds_of(notebook)
    assert {"listen": {"audio", "image/png"}, "study": {"image/png", "text/html"}}[name] <= shown
    assert {child.name for child in work.iterdir()} == {f"{name}_files"}


def kinds_of(notebook: Any) -> set[str]:
    """List the kinds of all outputs; "audio" for a player. Raises AssertionError for an output on standard error."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    data = [output.data for output in outputs if "data" in output]
    return {kind for found in data for kind in found} | {"audio" for found in data if "<audio" in str(found)}


def test_every_notebook_is_run() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["listen", "study"]
