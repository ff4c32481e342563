"""docs/guide/python.md cannot rot: its code runs, block after block, and names what exists."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import drivebeat
from data.synthetic.recordings import SynthConfig, synthesise
from tests.support.program import ROOT
from tests.support.study import tiny_data, tiny_study, toml_of

GUIDE = (ROOT / "docs" / "guide" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)


def test_it_names_what_exists_and_all_of_it() -> None:
    """In code and in tables: drivebeat.NAME, drivebeat.errors.NAME, and each function in the first table."""
    assert BLOCKS
    trees = [ast.parse(block) for block in BLOCKS]
    used = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "drivebeat"
    }
    assert used <= set(dir(drivebeat))
    functions = {name for names in drivebeat.INTERFACE.values() for name in names if name.islower()} - {"errors"}
    rows = [line.split("|")[1] for line in GUIDE.splitlines() if line.startswith("|")]
    assert functions <= {name for row in rows for name in re.findall(r"`(\w+)\(", row)}
    errors = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row)} - {"Recording"}
    known = {name for name, kind in vars(drivebeat.errors).items() if isinstance(kind, type)}
    assert errors == known - {"UserError", "WorkerError"}


def test_its_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", GUIDE) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / "docs" / "guide" / link).exists()] == []


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the guide takes as given: drive.wav, a trained run, and the study file demo.toml."""
    monkeypatch.chdir(tmp_path)
    for name in ("DRIVEBEAT_STORAGE", "DRIVEBEAT_ARTIFACTS", "DRIVEBEAT_TRACKERS"):
        monkeypatch.delenv(name, raising=False)
    synthesise(SynthConfig(seed=3, minutes=0.5, speeds_kmh=(60,)), tmp_path)
    data = tiny_data(tmp_path)
    (tmp_path / "drive.wav").write_bytes((tmp_path / "60km.wav").read_bytes())
    study = tiny_study(data, name="demo", epochs=2, budget={"trials": 3})
    (tmp_path / "demo.toml").write_text(toml_of(study))
    run = {
        "schema_version": 1,
        "data": data,
        "model": {"name": "autoencoder", "levels": 2, "width": 4},
        "loss": {"name": "si_sdr"},
        "fit": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4, "threads": 1},
    }
    drivebeat.train(run, "runs/best", quiet=True)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_block_runs_after_those_before_it(prepared: Path) -> None:
    names: dict[str, Any] = {}
    for i, block in enumerate(BLOCKS):
        exec(compile(block, f"block {i} of python.md", "exec"), names)
    assert names["study"].best is not None
    assert (prepared / "runs" / "demo" / "evaluation" / "table.csv").exists()
    assert (prepared / "runs" / "other_seed" / "weights.safetensors").exists()
