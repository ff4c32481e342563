"""Tables, pictures and sounds say what was measured."""

import csv
import dataclasses
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from data.config import DataConfig
from data.corpus import Corpus
from data.mixing.mixture import HeldOut, held_out
from models.classical import CLASSICAL
from training.evaluation.harm import worse_than_nothing
from training.evaluation.scores import TABLE_SCORES, Row, classical_rows, means_of, score_rows
from training.evaluation.showcase import (
    PITCH_FACTOR,
    SOUND_RATE_HZ,
    audible,
    typical_window,
    write_score_figure,
    write_showcase,
    write_sound,
    write_table,
)
from training.runs import SHOWN_SCORES, score_table


@pytest.fixture(scope="module")
def mixture(corpus: Corpus, data: DataConfig) -> HeldOut:
    """Five windows at -5 and 5 dB."""
    plan = dataclasses.replace(data.test, n_windows=5, snrs_db=(5.0, -5.0))
    return held_out(corpus.splits["test"], data, plan)


@pytest.fixture(scope="module")
def rows(mixture: HeldOut) -> list[Row]:
    estimates = classical_rows(mixture, (25.0, 55.0))
    return score_rows(estimates, mixture)


def is_picture(path: Path) -> bool:
    """A PNG on which something is drawn."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib.image.imread(path)
    return bool(pixels[..., :3].std() > 0.02 and min(pixels.shape[:2]) > 300)


def test_every_classical_method_has_a_row_at_every_snr(rows: list[Row]) -> None:
    assert [(row.method, row.snr_db) for row in rows] == [(m, snr_db) for m in CLASSICAL for snr_db in (5.0, -5.0)]


def test_silence_loses_and_the_oracle_wins(rows: list[Row]) -> None:
    means = {method: means_of(rows, method)["si_sdr_db"] for method in CLASSICAL}
    assert means["zeros"] == min(means.values())
    assert means["oracle"] == max(means.values())
    assert means["identity"] == pytest.approx(0, abs=1)


def test_the_table_has_a_column_for_each_score_and_a_line_for_each_row(rows: list[Row], tmp_path: Path) -> None:
    write_table(rows, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["method", "snr_db", *TABLE_SCORES]
    assert len(read) == len(rows)
    for line, row in zip(read, rows, strict=True):
        assert (line["method"], float(line["snr_db"])) == (row.method, row.snr_db)
        assert all(float(line[name]) == pytest.approx(row.scores[name], abs=1e-4) for name in TABLE_SCORES)


def test_the_shown_table_puts_the_best_last_and_marks_the_bound(rows: list[Row]) -> None:
    console = Console(width=100, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(score_table(rows, "si_sdr_db", "identity"))
    console.file.close()
    lines = [line for line in console.export_text().splitlines() if "(bound)" in line or "zeros" in line]
    assert "zeros" in lines[0]
    assert "oracle (bound)" in lines[-1]


def test_the_shown_window_is_a_median_one_near_minus_5_db(mixture: HeldOut) -> None:
    estimates = mixture.noisy[:, :, 0].copy()
    estimates[1, 2] = mixture.clean[2]  # best
    estimates[1, 4] = mixture.clean[4] + 1e3  # worst
    snr, window = typical_window(mixture, estimates)
    assert mixture.snrs_db[snr] == -5.0
    assert window not in (2, 4)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("in_band", [False, True])
def test_the_showcase_is_one_picture_and_three_sounds(
    mixture: HeldOut, tmp_path: Path, silent: bool, in_band: bool
) -> None:
    """Also of an estimate that is all zeros, and of signals that were not band-passed."""
    estimates = np.ascontiguousarray(mixture.noisy[:, :, 0]) * (0 if silent else 1)
    files = write_showcase(dataclasses.replace(mixture, in_band=in_band), estimates, "title", tmp_path)
    assert [path.name for path in files] == ["window.png", "noisy.wav", "clean.wav", "estimate.wav"]
    assert is_picture(files[0])
    for path in files[1:]:
        samples, rate_hz = soundfile.read(path)
        assert samples.size / rate_hz == pytest.approx(mixture.clean.shape[1] / mixture.rate_hz, abs=1e-3)
        assert bool(samples.any()) == (not silent or path.name != "estimate.wav")


@pytest.mark.parametrize("score", ["si_sdr_db", "event_f1", "hr_error_bpm"])
def test_a_score_figure_is_drawn(rows: list[Row], score: str, tmp_path: Path) -> None:
    """Also where values are infinite, as a heart-rate error of silence is."""
    write_score_figure(rows, score, "nlms", tmp_path / "a.png")
    assert is_picture(tmp_path / "a.png")


@settings(max_examples=20)
@given(frequency_hz=st.sampled_from([25.0, 32.0, 40.0, 55.0]), rate_hz=st.sampled_from([250.0, 1000.0, 1234.0]))
def test_a_tone_comes_out_six_times_as_high_and_as_long(frequency_hz: float, rate_hz: float) -> None:
    time_s = np.arange(round(5 * rate_hz)) / rate_hz
    heard = audible(np.sin(2 * np.pi * frequency_hz * time_s).astype(np.float32), rate_hz)
    assert heard.size == pytest.approx(5 * SOUND_RATE_HZ, abs=8)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(heard.size)))
    assert np.argmax(spectrum) * SOUND_RATE_HZ / heard.size == pytest.approx(PITCH_FACTOR * frequency_hz, abs=0.3)
    assert np.abs(heard).max() == pytest.approx(0.9, abs=1e-4)


def test_beats_stay_where_they_are() -> None:
    """Playing the file six times as fast would raise the pitch too, and the heart rate with it."""
    time_s = np.arange(4000) / 1000
    burst = np.exp(-0.5 * ((time_s - 2.5) / 0.03) ** 2) * np.cos(2 * np.pi * 40 * time_s)
    heard = audible(burst.astype(np.float32), 1000.0)
    centre = np.sum(np.arange(heard.size) * heard**2) / np.sum(heard**2) / SOUND_RATE_HZ
    assert centre == pytest.approx(2.5, abs=0.01)


def test_sounds_are_16_bit_wav(tmp_path: Path) -> None:
    write_sound(np.sin(np.arange(1000) / 4).astype(np.float32), 1000.0, tmp_path / "a.wav")
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", SOUND_RATE_HZ, 1)


def test_a_method_that_is_worse_than_the_mixture_is_named_with_scores_and_snrs() -> None:
    def row(method: str, snr_db: float, si_sdr_db: float, f1: float) -> Row:
        return Row(method, snr_db, {"si_sdr_db": si_sdr_db, "event_f1": f1, "hr_within_5_bpm": 0.5})

    same = [row("identity", -5.0, -5.0, 0.5), row("identity", 5.0, 5.0, 0.9)]
    better = [row("mine", -5.0, 0.0, 0.6), row("mine", 5.0, 5.0, 0.9)]
    worse = [row("mine", -5.0, -6.0, 0.6), row("mine", 5.0, 4.0, 0.8)]
    assert worse_than_nothing([*same, *better], "mine", SHOWN_SCORES) == ""
    text = worse_than_nothing([*same, *worse], "mine", SHOWN_SCORES)
    assert "mine is worse than" in text and "si_sdr_db at -5, +5 dB; event_f1 at +5 dB" in text
