"""Samples as they arrive: times, gaps, columns and values that are wrong are said and do not end the estimate."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.config import AugmentConfig, DataConfig
from data.recording import Recording
from tests.support.live import RATE_HZ, causal_denoiser, estimate_in, ran, said, signals, table
from training.denoising.denoise import Denoiser, denoise
from training.errors import ConfigError
from training.live.intake import Intake
from training.live.rows import FloatRows, Notes, Rows, TableRows
from training.live.session import (
    Session,
    channels_with_missing,
    of_recording,
    reader_of,
)


@pytest.fixture
def denoiser(make_run: Callable[..., object], data: DataConfig) -> Denoiser:
    return causal_denoiser(make_run, data)


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


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b"1,2\n,\n3,4\nNA,NA\n5,6\n", [[1, np.nan, 3, np.nan, 5], [2, np.nan, 4, np.nan, 6]]),
        (b"0,5;-1,25\n1;2\n", [[0.5, 1], [-1.25, 2]]),
        (b"z;x\n0,5;1e3\n", [[0.5], [1000]]),
        (b"time_s,heart,ref\n0.0,1,2\n0.1,3,4\n", [[1, 3], [2, 4]]),
        (b"time_s,z,x\n1e308,1,2\n0.1,3,4\n", [[3], [4]]),
    ],
    ids=["missing", "decimal comma", "its heading", "time is no channel", "a damaged time"],
)
def test_lines_are_read_as_they_are_meant(content: bytes, values: list[list[float]]) -> None:
    """A reader whose model names no channels takes the first that are no time."""
    reader = TableRows(2, lambda heading: tuple(range(2)), Notes())
    np.testing.assert_array_equal(reader.feed(content).values, values)


def test_a_heading_that_lacks_references_has_silent_ones_and_channels_that_are_given_are_needed(
    denoiser: Denoiser,
) -> None:
    data = dataclasses.replace(denoiser.run.data, augment=AugmentConfig(reference_dropout=0.2))
    lacking, notes = dataclasses.replace(denoiser, run=dataclasses.replace(denoiser.run, data=data)), Notes()
    rows = reader_of(lacking, "csv", ("z", "x"), notes).feed(b"ch1\n1\n2\n3\n")
    np.testing.assert_array_equal(rows.values, [[1, 2, 3], [np.nan] * 3])
    assert "1 of 1 references are not in the heading" in notes.fresh[0]
    with pytest.raises(ConfigError, match=r"have the channels a, b; --channels names h as the channel to clean"):
        reader_of(lacking, "csv", ("h", "r"), Notes()).feed(b"time_s,a,b\n0,1,2\n")


def test_the_banner_of_a_logger_is_left_out_and_a_heading_with_other_channels_refused(denoiser: Denoiser) -> None:
    notes = Notes()
    reader = reader_of(denoiser, "csv", ("z", "x"), notes)
    np.testing.assert_array_equal(reader.feed(b"OK\nlogger 2.1 is ready\nz,x\n1,2\n").values, [[1], [2]])
    assert dict(notes.counts) == {"text": 1, "columns": 1}
    for heading in (b"a,b\n", b"time_s,a\n"):
        with pytest.raises(ConfigError, match="has the channels"):
            reader_of(denoiser, "csv", ("z", "x"), Notes()).feed(heading)


@pytest.mark.parametrize("packet", [20, 100])
@pytest.mark.parametrize("stated", [None, 1000.0])
def test_no_row_of_a_packet_is_late(packet: int, stated: float | None) -> None:
    n = 5000
    intake, values = Intake(("z", "x"), stated, Notes()), np.random.default_rng(0).standard_normal((2, n))
    rows = Rows(np.arange(n) // packet * packet / 1000.0, values)
    found = np.concatenate([*intake.feed(rows), *intake.end()], axis=1)
    assert intake.rate_hz == 1000
    np.testing.assert_array_equal(found, values)
    assert not intake.notes.counts


def test_a_reference_that_is_not_there_hides_no_fault_of_the_heart(denoiser: Denoiser) -> None:
    values = signals(4.0)[:1]
    values[0, 300:320] = np.nan
    _, notes, _ = ran(denoiser, table(np.concatenate([values, values]), head="time_s,z,other"), 500)
    assert notes.counts["missing"] == 20
