"""A live estimate: that of `apply`, its files, its heart rate, and where samples come from."""

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from data.config import DataConfig
from data.errors import FileError
from data.recording import Recording
from tests.support.live import RATE_HZ, causal_denoiser, estimate_in, ran, said, signals, table
from training.calibration import DEFAULT
from training.denoising.denoise import Denoiser, denoise
from training.errors import ConfigError
from training.live import heart as heart_module
from training.live.heart import Monitor
from training.live.intake import Intake
from training.live.outputs import Outputs, check_outputs
from training.live.rows import Notes, Rows
from training.live.session import (
    Session,
    channels_of,
)
from training.live.sources import _read, arriving, kind_of


@pytest.fixture
def denoiser(make_run: Callable[..., object], data: DataConfig) -> Denoiser:
    return causal_denoiser(make_run, data)


@pytest.mark.parametrize("n_bytes", [97, 5_000, 10**7])
def test_the_estimate_of_a_table_at_any_speed_is_that_of_apply(
    n_bytes: int, denoiser: Denoiser, tmp_path: Path
) -> None:
    values = signals(8.0)
    found, _, intake = ran(denoiser, table(values), n_bytes, output=tmp_path / "e.csv")
    recording = Recording(values.astype(np.float32), RATE_HZ, ("z", "x"), Path("drive.csv"))
    whole = denoise(denoiser, recording).signals[0]
    np.testing.assert_allclose(estimate_in(tmp_path / "e.csv"), whole, atol=1e-4)
    assert intake.rate_hz == RATE_HZ
    assert [round(second.time_s, 3) for second in found] == [*map(float, range(1, 9)), 8.0]
    assert "delay at most" in said(found)


def test_the_heart_rate_and_each_beat_once_of_an_estimate_that_arrives(heart: Callable[..., Recording]) -> None:
    recording = heart(0, Path("h.csv"), seconds=60.0, bpm=72.0)
    monitor, seconds = Monitor(RATE_HZ, DEFAULT), []
    for start in range(0, 15_000, 250):
        monitor.add(recording.signals[0, start : start + 250])
        seconds.append(monitor.second((start + 250) / RATE_HZ, True, at_end=start == 14_750))
    sure = [second.heart_rate_bpm for second in seconds[15:] if second.heart_rate_bpm is not None]
    assert len(sure) > 35 and np.abs(np.array(sure) - 72.0).max() < 3
    times_s = np.array([beat.time_s for second in seconds for beat in second.beats])
    assert recording.r_peaks_s is not None
    truth = recording.r_peaks_s + 0.05
    near = np.abs(times_s[:, None] - truth[None]).min(axis=0)
    assert np.mean(near < 0.06) > 0.9
    assert np.diff(times_s).min() > 0.3


def test_silence_has_no_heart_rate() -> None:
    monitor = Monitor(RATE_HZ, DEFAULT)
    monitor.add(np.zeros(5000, np.float32))
    assert monitor.second(20.0, True).heart_rate_bpm is None


def test_a_wav_takes_its_place_at_the_end_also_after_an_error(denoiser: Denoiser, tmp_path: Path) -> None:
    def broken() -> Iterator[Rows]:
        yield Rows(None, signals(3.0))
        raise KeyboardInterrupt

    intake = Intake(("z", "x"), RATE_HZ, Notes())
    with pytest.raises(KeyboardInterrupt), Session(denoiser, intake, tmp_path / "e.wav") as session:
        for rows in broken():
            list(session.feed(rows))
            assert not (tmp_path / "e.wav").exists()
    assert 400 < len(soundfile.read(tmp_path / "e.wav")[0]) <= 750
    assert {path.name for path in tmp_path.iterdir()} == {"e.wav", "e.beats.csv", "e.heart_rate.csv"}


def test_the_source_is_never_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("z")
    with pytest.raises(ConfigError, match="is never written"):
        check_outputs(tmp_path / "a.csv", tmp_path / "a.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="is never written"):
        check_outputs(tmp_path / "hard.csv", tmp_path / "a.csv")
    with (
        (tmp_path / "a.csv").open() as file,
        pytest.raises(ConfigError, match="standard input, which is never"),
    ):
        check_outputs(tmp_path / "a.csv", file.fileno())
    with pytest.raises(ConfigError, match=r"written as .csv or .wav"):
        check_outputs(tmp_path / "a.mat", None)


def test_a_named_pipe_waits_for_the_next_writer(tmp_path: Path) -> None:
    pipe, stop, notes = tmp_path / "pipe", threading.Event(), Notes()
    os.mkfifo(pipe)

    def write() -> None:
        for content in (b"1,2\n", b"3,4\n"):
            with pipe.open("wb") as file:
                file.write(content)
            gone.wait(10)
            gone.clear()

    gone, found = threading.Event(), b""
    assert kind_of(str(pipe)) == "pipe"
    writer = threading.Thread(target=write)
    writer.start()
    for content in arriving(str(pipe), "pipe", notes, stop.is_set):
        found += content or b""
        if notes.fresh or found.endswith(b"3,4\n"):
            gone.set()
        if found.endswith(b"3,4\n"):
            stop.set()
    writer.join()
    assert found == b"1,2\n3,4\n"
    assert "the writer of the pipe has gone; waiting for the next" in notes.fresh


@pytest.mark.parametrize("source", ["tcp:0", "tcp:99999", "tcp:nine"])
def test_a_port_that_cannot_be_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match=r"tcp:PORT|port "):
        kind_of(source)


def test_channels_are_those_of_the_run_or_those_given(denoiser: Denoiser) -> None:
    assert channels_of(denoiser, ()) == ("z", "x")
    assert channels_of(denoiser, ("a", "b")) == ("a", "b")
    with pytest.raises(ConfigError, match="names 1 channels; the model needs 2"):
        channels_of(denoiser, ("a",))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_day_takes_no_more_memory_than_an_hour(denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 hours at 250 Hz, in long pieces to save time: the memory of the process, and the state, stay as they are.

    The estimate alone would be 86 MB, the signals 346 MB.
    """
    monkeypatch.setattr("training.live.intake.PIECE_S", 60.0)
    intake, minute = Intake(("z", "x"), RATE_HZ, Notes()), signals(60.0)
    held: dict[int, tuple[int, list[torch.Size]]] = {}
    with Session(denoiser, intake, None, every_s=1800.0) as session:
        for i in range(1, 24 * 60 + 1):
            for _ in session.feed(Rows(None, minute)):
                pass
            if i in (60, 24 * 60):
                state = session._state.model
                shapes = [part.shape for part in (state.waiting, state.ready, *(state.kept or ()))]
                held[i] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"), shapes
    (early, shapes), (late, later_shapes) = held.values()
    assert later_shapes == shapes
    assert late - early < 40e6


@pytest.mark.parametrize("rate_hz", [250.0, 250.01, 333.3])
def test_thirty_seconds_are_decoded_at_any_rate(rate_hz: float, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths_s = []
    real = vars(heart_module)["beats_of"]

    def spied(recording: Recording, *others: Any) -> Any:
        lengths_s.append(recording.duration_s)
        return real(recording, *others)

    monkeypatch.setattr(heart_module, "beats_of", spied)
    monitor = Monitor(rate_hz, DEFAULT)
    monitor.add(np.random.default_rng(0).standard_normal(round(40 * rate_hz)).astype(np.float32))
    monitor.second(40.0, True)
    assert lengths_s == [pytest.approx(30.0, abs=0.01)]


def test_a_disk_that_is_full_is_one_line_and_an_earlier_sound_stays(tmp_path: Path) -> None:
    (tmp_path / "e.wav").write_bytes(b"earlier")
    outputs = Outputs(tmp_path / "e.wav", RATE_HZ)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(FileError, match=r"e\.wav: cannot be written"), outputs:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
            outputs.add(np.ones(100_000, np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert (tmp_path / "e.wav").read_bytes() == b"earlier"
    assert list(tmp_path.glob(".*.part")) == []


def test_a_source_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    number = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileError, match="cannot be read"):
        list(_read(number, Notes(), lambda: False))
    os.close(number)
    assert kind_of("x" * 300) == "recording"
