"""A researcher's whole way in a folder of their own, outside the checkout, with modules of the same names as ours."""

import csv
import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
from scipy.io import savemat

from tests.support.notebook import execute, install_kernel
from tests.support.program import command, environment

Run = Callable[..., str]

STUDY = """\
schema_version = 2
name = "mine"
models = ["my_model"]
plugins = ["my_model.py"]
epochs = 2
search = ["width", "learning_rate"]
sampler = { name = "random" }
pruner = { name = "none" }
budget = { trials = 3 }
fixed = { n_layers = 2, batch_size = 8, steps_per_epoch = 3 }
final = { epochs = 3 }

[data]
rate_hz = 250.0
window_samples = 512
stride_samples = 16
validation = { n_windows = 4, snrs_db = [-5.0, 0.0] }
test = { n_windows = 4, snrs_db = [-5.0, 0.0] }

[[data.clean]]
files = ["data/rest_*.mat"]
variables = ["seat", "belt"]

[[data.noise]]
files = ["data/drive_*.mat"]
variables = ["seat", "belt"]
"""


@pytest.fixture
def own(recordings: Path, tmp_path: Path) -> Path:
    """A folder with data/ of .mat files, one variable for each channel, and modules that would hide Drivebeat's."""
    folder = tmp_path / "own"
    (folder / "data").mkdir(parents=True)
    for name, source in (("rest", "stop.wav"), ("drive", "60km.wav")):
        (path,) = recordings.rglob(source)
        signals, rate_hz = soundfile.read(path, dtype="float32")
        for i, part in enumerate(np.array_split(signals, 3)):
            variables = {"seat": part[:, 0], "belt": part[:, 1], "fs": float(rate_hz)}
            savemat(folder / "data" / f"{name}_{i}.mat", variables)
    for module in ("models", "data", "search", "training", "objectives"):
        (folder / f"{module}.py").write_text(f'MINE = "{module}"\n', encoding="utf-8")
    return folder


@pytest.fixture
def run(own: Path, tmp_path: Path) -> Run:
    """Run a command in that folder and return what it prints on standard output."""
    settings = {"XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            command(*arguments),
            cwd=own,
            env=environment(**settings),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    return run


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return install_kernel(tmp_path, monkeypatch, path="")


@pytest.fixture
def dashboard(own: Path) -> Iterator[Callable[[str], bytes]]:
    """Serve the dashboard in that folder; return what it answers to a path."""
    process = subprocess.Popen(
        command("dashboard", "--port", "0"), cwd=own, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = re.search(r"http://[^/ ]+", process.stdout.readline())
        assert address is not None

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"{address[0]}{path}", timeout=30) as answer:
                content: bytes = answer.read()
                return content

        yield get
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_own_recordings_and_an_own_model_to_a_notebook(
    own: Path, run: Run, request: pytest.FixtureRequest, kernel: str, tmp_path: Path
) -> None:
    """Create, search, browse, export, train, evaluate, apply and denoise, all from that folder."""
    run("new", "model", "my_model.py")
    assert "rules pass" in run("check", "my_model.py")
    (own / "study.toml").write_text(STUDY, encoding="utf-8")
    run("create", "study.toml")
    (own / "my_model.py").unlink()  # the study has its source
    assert "3/3 finished" in run("launch", "mine", "--workers", "2")

    get = request.getfixturevalue("dashboard")
    (study,) = json.loads(get("/api/studies"))["study_summaries"]
    page = json.loads(get(f"/api/studies/{study['study_id']}"))
    assert len(page["trials"]) == 3
    files = {artifact["filename"]: artifact["artifact_id"] for artifact in page["artifacts"]}
    assert b"my_model" in get(f"/artifacts/{study['study_id']}/{files['best.yaml']}")

    run("export", "mine", "-o", "best.yaml")
    run("train", "best.yaml", "-o", "runs/best", "--threads", "1")
    assert len((own / "runs/best/history.jsonl").read_text().splitlines()) == 3
    run("evaluate", "runs/best", "--by", "recording", "--threads", "1")
    with (own / "runs/best/evaluation/by_recording.csv").open(encoding="utf-8") as file:
        assert {row["method"] for row in csv.DictReader(file)} >= {"my_model", "identity"}
    run("apply", "runs/best", "data", "-o", "estimates")
    made = sorted(path.name for path in (own / "estimates").glob("*.wav"))
    assert made == [f"{name}_{i}.wav" for name in ("drive", "rest") for i in range(3)]

    moved = own.rename(tmp_path / "moved")
    code = (
        "import drivebeat, numpy\n"
        "denoiser = drivebeat.load('runs/best')\n"
        "estimate = denoiser.denoise('data/drive_0.mat')\n"
        "numpy.save('estimate.npy', estimate.signals)\n"
        "print(denoiser.channels, estimate.rate_hz)\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])  # type: ignore[no-untyped-call]
    execute(notebook, moved, kernel)
    texts = {output.name: output.text for output in notebook.cells[0].outputs}
    assert texts["stdout"] == "('seat', 'belt') 1000.0\n"
    assert "`import models` imports Drivebeat's package from here on" in texts["stderr"]
    written, rate_hz = soundfile.read(moved / "estimates" / "drive_0.wav", dtype="float32")
    np.testing.assert_array_equal(np.load(moved / "estimate.npy")[0], written)
    assert rate_hz == 1000
