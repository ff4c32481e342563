"""What `describe` measures and `draw` draws; and the real recordings through the readers."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from data.ecg import beats, heart_rate_bpm
from data.errors import DataError
from data.info import describe, document, draw
from data.readers.read import read, variables

RATE_HZ = 1000.0
TIME_S = np.arange(20_000) / RATE_HZ


def write(path: Path, *channels: np.ndarray) -> Path:
    soundfile.write(path, np.column_stack(channels), int(RATE_HZ), "FLOAT")
    return path


def test_levels_of_known_tones(tmp_path: Path) -> None:
    """A sine has RMS A / sqrt(2), kurtosis 1.5; an offset counts for nothing; half the power is -3 dB."""
    inside, outside = np.sin(2 * np.pi * 40 * TIME_S), np.sin(2 * np.pi * 80 * TIME_S)
    path = write(tmp_path / "x.wav", 0.5 * inside + 3.0, inside + outside, outside)
    info = describe(path, read(path))
    first, second, third = info.channels
    assert first.rms == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert first.kurtosis == pytest.approx(1.5, rel=1e-3)
    assert first.band_db == pytest.approx(0.0, abs=0.05)
    assert second.band_db == pytest.approx(10 * np.log10(0.5), abs=0.05)
    assert third.band_db < -30
    assert (info.rate_hz, info.duration_s) == (1000.0, 20.0)
    assert (info.heart_rate_bpm, info.n_beats, info.ecg_rate_hz) == (None, None, None)
    assert [str(v) for v in info.variables] == [f"ch{i} (20000 FLOAT)" for i in (1, 2, 3)]


def test_gaussian_noise_has_kurtosis_three_and_its_share_of_the_band(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(TIME_S.size)
    info = describe(tmp_path / "x.wav", read(write(tmp_path / "x.wav", noise)))
    assert info.channels[0].kurtosis == pytest.approx(3.0, abs=0.2)
    assert info.channels[0].band_db == pytest.approx(10 * np.log10(30 / 500), abs=0.5)


def test_a_rate_too_low_for_the_band_has_no_level_and_no_picture(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.sin(TIME_S[:2000]), 100, "FLOAT")
    recording = read(tmp_path / "x.wav")
    assert np.isnan(describe(tmp_path / "x.wav", recording).channels[0].band_db)
    with pytest.raises(DataError, match="55"):
        draw(recording, tmp_path / "x.png")
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


def test_a_picture_has_a_row_for_each_channel(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((4, TIME_S.size))
    heights = []
    for n in (1, 4):
        draw(read(write(tmp_path / "a $x$.wav", *noise[:n])), tmp_path / "x.png")
        heights.append(imread(tmp_path / "x.png").shape[0])
    assert heights[1] > 2 * heights[0]
    with pytest.raises(DataError, match=r"\.png"):
        draw(read(tmp_path / "a $x$.wav"), tmp_path / "x.jpg")


def test_a_picture_of_a_recording_shorter_than_ten_seconds(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", 0.1 * np.random.default_rng(0).standard_normal(800))
    draw(read(path), tmp_path / "x.png")
    assert imread(tmp_path / "x.png").std() > 0


def test_real_heart_sounds_lie_in_the_band_and_follow_the_ecg(realdata: Path) -> None:
    folder = realdata / "heart_ecg" / "radar2pcg"
    for path in sorted(folder.glob("*_PCG.wav")):
        recording = read(path, ecg=path.with_name(path.name.replace("PCG", "ECG")))
        assert (recording.rate_hz, recording.ecg_rate_hz) == (4000.0, 500.0)
        info = describe(path, recording)
        assert info.channels[0].band_db > -6
        assert info.heart_rate_bpm is not None and 50 < info.heart_rate_bpm < 110


def test_real_archives_say_their_rate_channels_and_beats(realdata: Path) -> None:
    for path in sorted((realdata / "heart_ecg" / "springer").glob("*.npz")):
        recording = read(path)
        assert recording.rate_hz == 1000.0
        r_peaks_s = beats(recording)
        assert r_peaks_s is not None
        assert 40 < heart_rate_bpm(r_peaks_s) < 120
        assert r_peaks_s.max() < recording.duration_s
    for path in sorted((realdata / "vehicle").glob("*.npz")):
        recording = read(path)
        assert (recording.channels, recording.rate_hz) == (("x", "y", "z"), 500.0)
        # Gravity stands on the vertical axis alone.
        assert recording.signals.mean(axis=1)[2] == pytest.approx(9.8, abs=1.0)
        assert read(path, channels=("z",)).signals.shape[0] == 1


def test_real_clips_are_listed_and_joined(realdata: Path) -> None:
    path = realdata / "heart_only" / "yaseen_1k_int16.npz"
    held = variables(path)
    normal = [v for v in held if v.name.startswith("New_N_")]
    assert len(held) == 480 and normal
    recording = read(path, variable="New_N_*", rate_hz=1000.0)
    assert recording.signals.shape == (1, sum(v.shape[0] for v in normal))
    with np.load(path) as archive:
        first = archive[min(v.name for v in normal)]
    np.testing.assert_array_equal(recording.signals[0, : first.size], first.astype(np.float32))
    with pytest.raises(DataError, match="variable="):
        read(path, rate_hz=1000.0)
    with pytest.raises(DataError, match="rate_hz="):
        read(path, variable="New_N_*")


def test_a_real_table_of_words_is_refused_in_one_line(realdata: Path) -> None:
    with pytest.raises(DataError, match="not a table of numbers") as raised:
        read(realdata / "vehicle" / "car_cabin_noise_dBA.tsv")
    assert "\n" not in str(raised.value)


def test_defects_assumptions_and_a_poor_ecg_are_told_and_the_document_is_json(tmp_path: Path) -> None:
    """Nothing that cannot be measured becomes NaN in JSON."""
    noise = np.random.default_rng(0).standard_normal((2, TIME_S.size))
    noise[0, 100:105] = np.nan
    peaks_s = np.sort(np.random.default_rng(1).uniform(0, 20, 25))
    np.savez(
        tmp_path / "x.npz", signals=[*noise, 0 * TIME_S], rate_hz=RATE_HZ, channels=["a", "b", "c"], r_peaks_s=peaks_s
    )
    info = describe(tmp_path / "x.npz", read(tmp_path / "x.npz"))
    assert "jumps" in info.ecg_problem
    assert any("1 gap" in note for note in info.notes)
    assert [channel.defects.flat for channel in info.channels] == [False, False, True]
    held = json.loads(json.dumps(document(info), allow_nan=False))
    assert [channel["contrast_db"] for channel in held["channels"]] == [None] * 3
    known = describe(tmp_path / "x.npz", read(tmp_path / "x.npz"), (21.5, 8.0, float("nan")))
    assert [channel["contrast_db"] for channel in document(known)["channels"]] == [21.5, 8.0, None]
    assert held["channels"][2]["kurtosis"] is None and held["channels"][2]["flat"] is True
    assert (held["notes"], held["ecg_problem"]) == ([*info.notes], info.ecg_problem)


def test_what_is_in_a_file_is_told_with_its_size_and_a_column_of_a_table_without(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("time,seat\n" + "".join(f"{i / 100},{i % 7}\n" for i in range(300)))
    assert "column seat" in describe(tmp_path / "x.csv", read(tmp_path / "x.csv")).held
    np.savez(tmp_path / "x.npz", acc=TIME_S % 0.7, fs=RATE_HZ)
    held = describe(tmp_path / "x.npz", read(tmp_path / "x.npz")).held
    assert held == (f"variable acc ({TIME_S.size} float64)", "variable fs (scalar float64)")
