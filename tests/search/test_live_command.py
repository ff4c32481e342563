"""`drivebeat live` as people and programs run it: sources, files, Ctrl-C, and readers that go."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from data.config import DataConfig
from models.live import LiveConfig
from models.tcn_mask import TcnMaskConfig
from objectives.losses import NegSiSdrConfig
from tests.support.program import ROOT
from training.checkpoint import save_weights
from training.config import RunConfig, write_run
from training.decode import decode

RATE_HZ = 1000
SECONDS = 6.0


@pytest.fixture(autouse=True)
def run(data_section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A causal run in the folder `run`, and a recording of 6 s."""
    config = RunConfig(
        data=decode(DataConfig, {**data_section, "band_phase": "minimum"}, "data"),
        model=TcnMaskConfig(filters=16, width=8, hidden=16, blocks=1, repeats=1),
        loss=NegSiSdrConfig(),
        live=LiveConfig(causal=True),
    )
    write_run(config, tmp_path / "run" / "run.yaml")
    torch.manual_seed(0)
    save_weights(config.build_model(1), tmp_path / "run" / "weights.safetensors")
    samples = np.random.default_rng(0).standard_normal(round(SECONDS * RATE_HZ)).astype(np.float32)
    soundfile.write(tmp_path / "drive.wav", samples, RATE_HZ, subtype="FLOAT")
    samples.tofile(tmp_path / "drive.f32")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def started(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = "from search.cli.app import main; main()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-c", program, "live", "run", *words], env=environment, **{**pipes, **options}
    )


def samples_in(path: Path) -> Any:
    return np.loadtxt(path, delimiter=",", skiprows=1)[:, 1]


def test_a_recording_gives_the_estimate_of_apply_and_a_line_each_second(drivebeat: Any) -> None:
    said = drivebeat("live", "run", "--source", "drive.wav", "-o", "e.csv")
    assert said.code == 0
    assert len(said.out.splitlines()) == 7
    assert "note: 1000 Hz; delay at most 0.336 s: 0.192 s of frames and lookahead" in said.err
    assert drivebeat("apply", "run", "drive.wav", "-o", "a.csv", "--no-beats").code == 0
    np.testing.assert_allclose(samples_in(Path("e.csv")), samples_in(Path("a.csv")), atol=1e-4)
    assert Path("e.beats.csv").is_file() and Path("e.heart_rate.csv").is_file()


def test_what_cannot_be_is_refused_in_a_line(drivebeat: Any, data_section: dict[str, Any]) -> None:
    from models import DENOISERS

    write_run(
        RunConfig(decode(DataConfig, data_section, "data"), DENOISERS["identity"](), NegSiSdrConfig()),
        Path("plain/run.yaml"),
    )
    save_weights(DENOISERS["identity"]().build(1), Path("plain/weights.safetensors"))
    for words, text in (
        (("plain",), "identity is not causal"),
        (("run", "--source", "drive.wav", "-o", "drive.wav"), "is never written"),
        (("run", "--source", "gone.wav"), "gone.wav"),
        (("run", "--format", "xml"), "--format xml: csv or f32"),
        (("run", "--source", "tcp:x"), "tcp:PORT is needed"),
        (("run", "--source", "drive.wav", "--speed", "0"), "--speed 0: a positive number"),
    ):
        said = drivebeat("live", *words)
        assert (said.code, said.out) == (2, ""), words
        assert text in said.err and said.err.strip().count("\n") == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_standard_input_of_floats_ends_with_its_last_second() -> None:
    ended = started("--rate-hz", "1000", "--format", "f32", "-o", "e.csv", "--json")
    out, err = ended.communicate(Path("drive.f32").read_bytes(), timeout=100)
    assert ended.returncode == 0, err
    assert [json.loads(line)["time_s"] for line in out.splitlines()] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0]
    assert len(samples_in(Path("e.csv"))) == 6000


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_socket_goes_on_with_the_next_sender_and_ctrl_c_completes_the_files() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listening = started("--source", f"tcp:{port}", "--rate-hz", "1000", "--format", "f32", "-o", "e.wav")
    content = Path("drive.f32").read_bytes()
    for part in (content[:12_000], content[12_000:]):
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", port)) as sender:
                    sender.sendall(part)
                break
            except ConnectionError:
                time.sleep(0.1)
    assert listening.stdout is not None
    for _ in range(6):
        assert listening.stdout.readline()
    listening.send_signal(signal.SIGINT)
    _, err = listening.communicate(timeout=60)
    assert listening.returncode == 130
    assert b"the sender has gone; waiting for the next" in err
    assert b"Traceback" not in err
    assert len(soundfile.read("e.wav")[0]) == 6000


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_reader_that_goes_ends_it_and_the_files_are_complete() -> None:
    running = started("--source", "drive.wav", "--speed", "4", "-o", "e.wav")
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    running.stdout = None
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert b"Traceback" not in err
    assert len(soundfile.read("e.wav")[0]) > 500
