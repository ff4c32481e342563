"""A signal that arrives: what is wrong with it is said and does not end it; the estimate is that of `apply`."""

import csv
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from data.config import AugmentConfig, DataConfig
from data.recording import Recording
from models.live import LiveConfig
from models.tcn_mask import TcnMaskConfig
from training.calibration import DEFAULT
from training.denoising.denoise import Denoiser, denoise
from training.errors import ConfigError
from training.live.heart import Monitor, Second
from training.live.intake import Intake
from training.live.outputs import check_outputs
from training.live.rows import FloatRows, Notes, Rows, TableRows
from training.live.session import (
    Session,
    channels_of,
    channels_with_missing,
    of_bytes,
    of_recording,
    reader_of,
)
from training.live.sources import arriving, kind_of

RATE_HZ = 250.0
TCN = TcnMaskConfig(stride=4, filters=16, width=8, hidden=16, blocks=2, repeats=1)


@pytest.fixture
def denoiser(make_run: Callable[..., object], data: DataConfig) -> Denoiser:
    """A small causal model of two channels, z and x."""
    named = tuple(dataclasses.replace(source, channels=("z", "x")) for source in data.noise)
    run = make_run(model=TCN, data=dataclasses.replace(data, noise=named, band_phase="minimum"))
    run = dataclasses.replace(run, live=LiveConfig(causal=True, past_s=1.0))  # type: ignore[type-var]
    torch.manual_seed(0)
    return Denoiser(run, run.build_model(2).eval(), "cpu")  # type: ignore[attr-defined,arg-type]


def signals(seconds: float, seed: int = 0) -> NDArray[np.float64]:
    return 9.81 + np.random.default_rng(seed).standard_normal((2, round(seconds * RATE_HZ)))


def table(values: NDArray[np.float64], times_s: NDArray[np.float64] | None = None, head: str = "time_s,z,x") -> bytes:
    times_s = np.arange(values.shape[1]) / RATE_HZ if times_s is None else times_s
    rows = [f"{t:.6f},{z:.8f},{x:.8f}" for t, (z, x) in zip(times_s, values.T, strict=True)]
    return "\n".join([head, *rows, ""]).encode()


def ran(
    denoiser: Denoiser, content: bytes, n: int, rate_hz: float | None = None, output: Path | None = None
) -> tuple[list[Second], Notes, Intake]:
    """Feed `content` in parts of `n` bytes; the reports, all that was said, and the intake."""
    notes = Notes()
    intake = Intake(("z", "x"), rate_hz, notes)
    reader = reader_of(denoiser, "csv", ("z", "x"), notes)
    parts = (content[i : i + n] for i in range(0, len(content), n))
    with Session(denoiser, intake, output) as session:
        found = [second for rows in of_bytes(parts, reader, lambda: False) for second in session.feed(rows)]
        found += session.end()
    return found, notes, intake


def said(found: list[Second]) -> str:
    return "\n".join(note for second in found for note in second.notes)


def estimate_in(path: Path) -> NDArray[np.float64]:
    with path.open() as file:
        return np.array([float(row["estimate"]) for row in csv.DictReader(file)])


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


def test_gaps_late_rows_bad_lines_and_missing_values_are_said_once_and_the_clock_goes_on(
    denoiser: Denoiser, tmp_path: Path
) -> None:
    values = signals(12.0)
    times_s = np.arange(values.shape[1]) / RATE_HZ
    kept = np.r_[0:1000, 1250:2000, 2030:3000]  # gaps of 1 s and of 0.12 s
    lines = table(values[:, kept], times_s[kept]).split(b"\n")
    lines[500] = b"2.0,abc,1"
    lines[501] = b"garbage line"
    lines[600:600] = [b"0.5,1,1", b"0.6,1,1"]
    lines[700] = lines[700].split(b",")[0] + b",nan,"
    found, notes, intake = ran(denoiser, b"\n".join(lines), 4096, output=tmp_path / "e.csv")
    text = said(found)
    assert text.count("are missing; such gaps are filled") == 1
    assert text.count("'abc' is no number") == 1
    assert text.count("late or came before") == 1
    assert "another heading" in text
    assert notes.counts["late"] == 2
    assert intake.n_samples == values.shape[1] == len(estimate_in(tmp_path / "e.csv"))
    assert np.isfinite(estimate_in(tmp_path / "e.csv")).all()


def test_a_sensor_that_is_unplugged_is_said_and_said_again_when_it_is_back(denoiser: Denoiser) -> None:
    values = signals(12.0)
    values[0, 1000:2000] = values[0, 1000]
    found, _, _ = ran(denoiser, table(values), 4096)
    text = said(found)
    assert text.count("channel z has no signal") == 1 and text.count("channel z is back") == 1
    gone = {second.time_s for second in found if not second.has_signal}
    assert {6.0, 7.0} <= gone <= {6.0, 7.0, 8.0}
    assert all(second.heart_rate_bpm is None for second in found if not second.has_signal)


def test_a_channel_that_is_not_in_the_heading_is_silent(denoiser: Denoiser) -> None:
    values = signals(4.0)
    content = table(values, head="time_s,z,other")
    found, _, intake = ran(denoiser, content, 4096)
    assert "channel x is not in the heading; it is taken as silent" in said(found)
    assert intake.n_samples == 1000


def test_the_times_win_over_another_rate_that_is_stated(denoiser: Denoiser) -> None:
    found, _, intake = ran(denoiser, table(signals(4.0)), 4096, rate_hz=1000.0)
    assert intake.rate_hz == RATE_HZ
    assert "the times say 250 Hz, --rate-hz 1000; 250 Hz is taken" in said(found)


@pytest.mark.parametrize(
    ("rate_hz", "digits", "jitter", "packet"),
    [(1600.0, 3, 0.0, 1), (300.0, 3, 0.0, 1), (1000.0, 6, 0.4, 1), (1000.0, 6, 0.0, 10), (250.0, 6, 0.0, 1)],
)
def test_the_rate_is_found_in_times_that_are_rounded_uneven_or_of_packets(
    rate_hz: float, digits: int, jitter: float, packet: int
) -> None:
    n, rng = round(4 * rate_hz), np.random.default_rng(0)
    times_s = (np.arange(n) // packet * packet + rng.uniform(-jitter, jitter, n)) / rate_hz
    intake = Intake(("z", "x"), None, Notes())
    rows = Rows(np.round(times_s, digits), rng.standard_normal((2, n)))
    found = [*intake.feed(rows), *intake.end()]
    assert intake.rate_hz == pytest.approx(rate_hz, rel=0.003)
    assert sum(samples.shape[1] for samples in found) == pytest.approx(n, abs=0.02 * rate_hz + packet)
    assert intake.notes.counts["late"] == 0


def test_a_stream_of_which_most_rows_are_late_is_an_error_at_its_end(denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match=r"rows came late or twice, so the times do not fit 250 Hz"):
        ran(denoiser, table(signals(4.0), np.repeat([0.0], 1000)), 500, rate_hz=RATE_HZ)


def test_one_value_that_is_too_large_is_held_and_it_goes_on(denoiser: Denoiser) -> None:
    values = signals(4.0)
    values[:, 500] = 1e30
    found, notes, intake = ran(denoiser, table(values), 500)
    assert notes.counts["missing"] == 2
    assert intake.n_samples == 1000
    assert "the last one is held" in said(found)


@pytest.mark.parametrize(
    ("first", "n_left_out"), [(b"0,1,2,3,4\n", 2), (b"\xef\xbb\xbftime_s,z,x\n", 1), (b"time_ms,z,x\n", 1)]
)
def test_other_columns_are_left_out_and_headings_of_other_programs_are_read(
    first: bytes, n_left_out: int, denoiser: Denoiser
) -> None:
    times_s = np.arange(1000) / RATE_HZ * (1000 if b"_ms" in first else 1)
    body = table(signals(4.0), times_s).partition(b"\n")[2] + b"9,9,9,9,9,9\n"
    _, notes, intake = ran(denoiser, first + body, 500)
    assert intake.rate_hz == RATE_HZ
    assert intake.n_samples == 1000
    assert dict(notes.counts) == {"columns": n_left_out}


def test_a_recording_that_lacks_references_is_that_of_apply(
    denoiser: Denoiser, heart: Callable[..., Recording], tmp_path: Path
) -> None:
    data = dataclasses.replace(denoiser.run.data, augment=AugmentConfig(reference_dropout=0.2))
    lacking = dataclasses.replace(denoiser, run=dataclasses.replace(denoiser.run, data=data))
    recording = heart(3, tmp_path / "a.npz", seconds=4.0)
    names, notes = channels_with_missing(lacking, recording), Notes()
    assert names == ("z", "missing reference 1")
    with Session(lacking, Intake(names, recording.rate_hz, notes), tmp_path / "e.csv") as session:
        for rows in of_recording(recording, len(names)):
            list(session.feed(rows))
        list(session.end())
    np.testing.assert_allclose(estimate_in(tmp_path / "e.csv"), denoise(lacking, recording).signals[0], atol=1e-4)
    with pytest.raises(ConfigError, match=r"1 channel \(z\), the model needs 2"):
        channels_with_missing(denoiser, recording)


def test_a_clock_that_jumps_is_taken_on_from_there(denoiser: Denoiser) -> None:
    values = signals(6.0)
    times_s = np.arange(1500) / RATE_HZ
    times_s[500:] += 1e9
    times_s[1000:] -= 2e9
    found, _, intake = ran(denoiser, table(values, times_s), 4096)
    assert "the clock jumps" in said(found) and "the clock went back" in said(found)
    assert intake.n_samples == 1500


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"1,2\n" * 100, "no rate is stated; give --rate-hz"), (b"5,1,2\n" * 100, "the times do not rise")],
)
def test_a_rate_that_nothing_tells_is_asked_for(content: bytes, error: str, denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match=error):
        ran(denoiser, content, 4096)


def test_a_rate_below_twice_the_band_is_refused(denoiser: Denoiser) -> None:
    with pytest.raises(ConfigError, match="samples come at 100 Hz; the band up to 55 Hz needs at least 110 Hz"):
        ran(denoiser, table(signals(4.0), np.arange(1000) / 100.0), 4096)


def test_random_bytes_are_survived() -> None:
    """As a table and as frames, whatever they say."""
    rng = np.random.default_rng(4)
    for reader in (TableRows(2, lambda names: (0, 1), Notes()), FloatRows(2)):
        intake = Intake(("z", "x"), 250.0, Notes())
        for _ in range(200):
            for samples in intake.feed(reader.feed(rng.bytes(int(rng.integers(1, 400))))):
                assert np.isfinite(samples).all()


def test_frames_are_taken_however_they_are_cut() -> None:
    values = signals(1.0).astype("<f4")
    content, reader = values.T.tobytes(), FloatRows(2)
    parts = [reader.feed(content[i : i + 7]).values for i in range(0, len(content), 7)]
    assert np.array_equal(np.concatenate(parts, axis=1), values)


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
