"""Synthetic recordings as files: the lab's layouts, to the byte the same from one seed."""

import hashlib
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.io import loadmat, whosmat

from data.errors import FileError
from data.synthetic.recordings import SynthConfig, simulate, synthesise

MINUTES = 0.2


def config(layout: str, *, sessions: int = 1) -> SynthConfig:
    return SynthConfig(seed=3, minutes=MINUTES, speeds_kmh=(30, 100), layout=layout, sessions=sessions)


@pytest.mark.parametrize("layout", ["240219", "240517", "240826", "wav"])
def test_equal_seeds_give_equal_bytes(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a year later: libraries like to write the time of day into headers."""

    def digests(folder: Path) -> dict[str, str]:
        paths = synthesise(SynthConfig(seed=3, minutes=0.1, speeds_kmh=(30,), layout=layout), folder)
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    first = digests(tmp_path / "a")
    monkeypatch.setattr(time, "asctime", lambda *_: "Thu Jan  1 00:00:00 2099")
    monkeypatch.setattr(time, "time", lambda: 4_070_908_800.0)
    assert first == digests(tmp_path / "b")


def test_layout_240219(tmp_path: Path) -> None:
    """samples x 8: Time, ECG, ch1z ... ch6z at 32 kHz."""
    made = config("240219")
    paths = synthesise(made, tmp_path)
    assert [p.name for p in paths] == ["Stop.mat", "Idling.mat", "30km.mat", "100km.mat", "truth.npz"]
    assert whosmat(paths[0]) == [("data", (384_000, 8), "single")]
    table = loadmat(paths[0])["data"]
    assert table.shape == (384_000, 8)
    np.testing.assert_allclose(table[:, 0], np.arange(384_000) / 32_000, atol=1e-6)
    recording = simulate(made, None)[0]
    np.testing.assert_array_equal(table[:, 1], recording.ecg)
    np.testing.assert_array_equal(table[:, 2:], recording.signals.T)


def test_layout_240517(tmp_path: Path) -> None:
    """N x 1 at 1 kHz, all speeds one after the other."""
    made = config("240517")
    heart, noise, truth = synthesise(made, tmp_path)
    assert (heart.name, noise.name, truth.name) == ("HS_data_serial.mat", "Noise_data_serial.mat", "truth.npz")
    assert whosmat(heart) == [("HS_data", (12_000, 1), "single")]
    assert whosmat(noise) == [("Noise_data", (24_000, 1), "single")]
    np.testing.assert_array_equal(loadmat(heart)["HS_data"][:, 0], simulate(made, None)[0].signals[0])
    joined = np.concatenate([simulate(made, speed)[0].signals[0] for speed in (30, 100)])
    np.testing.assert_array_equal(loadmat(noise)["Noise_data"][:, 0], joined)


def test_layout_240826(tmp_path: Path) -> None:
    """Segments of 5120 samples in rows; joined in row order they are the signal."""
    made = config("240826")
    paths = synthesise(made, tmp_path)
    assert [p.name for p in paths] == [
        "HS_data_stop.mat",
        "ECG_data_stop.mat",
        "Noise_data_30km.mat",
        "Noise_data_100km.mat",
        "truth.npz",
    ]
    variables = ("HS_data", "ECG_data", "data", "data")
    for path, variable in zip(paths, variables, strict=False):
        assert whosmat(path) == [(variable, (2, 5120), "single")]
    recording = simulate(made, None)[0]
    np.testing.assert_array_equal(loadmat(paths[0])["HS_data"].ravel(), recording.signals[0, :10_240])
    assert recording.ecg is not None
    np.testing.assert_array_equal(loadmat(paths[1])["ECG_data"].ravel(), recording.ecg[:10_240])


def test_layout_wav(tmp_path: Path) -> None:
    made = config("wav")
    paths = synthesise(made, tmp_path)
    assert [p.name for p in paths] == [
        "stop.wav",
        "stop_ECG.wav",
        "idle.wav",
        "30km.wav",
        "100km.wav",
        "truth.npz",
    ]
    samples, rate_hz = soundfile.read(paths[0], dtype="float32")
    assert (samples.shape, rate_hz, soundfile.info(paths[0]).subtype) == ((12_000, 6), 1000, "FLOAT")
    np.testing.assert_array_equal(samples.T, simulate(made, None)[0].signals)
    lead, rate_hz = soundfile.read(paths[1])
    assert (lead.shape, rate_hz) == ((6_000,), 500)


def test_the_truth_lies_beside_the_files(tmp_path: Path) -> None:
    made = config("wav")
    path = synthesise(made, tmp_path)[-1]
    truth = simulate(made, 100)[1]
    with np.load(path, allow_pickle=False) as stored:
        assert {name.split("_")[0] for name in stored} == {"stop", "idle", "30km", "100km"}
        for field in ("r_s", "s1_s", "s2_s", "bumps_s", "heart", "rate_hz"):
            np.testing.assert_array_equal(stored[f"100km_{field}"], getattr(truth, field))
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_sessions_lie_in_folders_of_their_own_and_differ(tmp_path: Path) -> None:
    paths = synthesise(config("wav", sessions=2), tmp_path)
    assert {p.parent.name for p in paths} == {"s01", "s02"}
    one, two = (soundfile.read(tmp_path / s / "stop.wav")[0] for s in ("s01", "s02"))
    assert not np.array_equal(one, two)
    # The first session is the same whether or not others follow.
    alone = synthesise(config("wav"), tmp_path / "alone")
    assert alone[0].read_bytes() == (tmp_path / "s01" / "stop.wav").read_bytes()


def test_nothing_but_the_files_stays_and_each_is_told(tmp_path: Path) -> None:
    written: list[str] = []
    paths = synthesise(config("wav"), tmp_path / "new" / "folder", progress=written.append)
    assert written == [str(p) for p in paths]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match=r"cannot be made \(File exists\); check the path"):
        synthesise(config("wav"), tmp_path / "file")
