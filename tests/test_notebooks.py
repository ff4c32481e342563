"""The notebooks run from a clean clone, without recordings or a network, and are stored without outputs."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.notebook import execute, install_kernel
from tests.support.program import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


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
    return install_kernel(tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", ["listen", "study"])
def test_it_runs_from_a_clean_clone(name: str, kernel: str, tmp_path: Path) -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    work = tmp_path / "work"
    work.mkdir()
    execute(notebook, work, kernel)
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
