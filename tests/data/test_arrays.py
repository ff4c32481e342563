"""Archives and sound files beyond the common contract; and times that should be even."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError, FileError
from data.readers.arrays.npz import write_npz
from data.readers.clock import is_even, rate_of
from data.readers.contents import is_ecg
from data.readers.read import read
from data.recording import Recording

NOISE = np.random.default_rng(2).standard_normal((2, 3000)).astype(np.float32)


def recording(**changes: object) -> Recording:
    held = {
        "signals": NOISE,
        "rate_hz": 1000.0 / 3.0,
        "channels": ("ch1z", "ch2z"),
        "source": Path("drive.mat"),
        "ecg": NOISE[0, ::2],
        "ecg_rate_hz": 500.0 / 3.0,
        "r_peaks_s": np.array([0.1, 0.9, 1.7]),
    }
    return Recording(**(held | changes))  # type: ignore[arg-type]


def test_what_write_npz_writes_is_read_back_equal(tmp_path: Path) -> None:
    written = recording()
    write_npz(written, tmp_path / "x.npz")
    got = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(got.signals, written.signals)
    assert (got.rate_hz, got.channels, got.ecg_rate_hz) == (
        written.rate_hz,
        written.channels,
        written.ecg_rate_hz,
    )
    assert got.ecg is not None and got.r_peaks_s is not None
    assert written.ecg is not None and written.r_peaks_s is not None
    np.testing.assert_array_equal(got.ecg, written.ecg)
    np.testing.assert_array_equal(got.r_peaks_s, written.r_peaks_s)


def test_more_channels_than_samples_survive_our_own_archive(tmp_path: Path) -> None:
    """Our own layout says which axis is time; nothing is guessed from the longer one."""
    wide = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    names = ("a", "b", "c", "d")
    write_npz(
        Recording(signals=wide, rate_hz=10.0, channels=names, source=Path("x")),
        tmp_path / "x.npz",
    )
    assert read(tmp_path / "x.npz").signals.tolist() == wide.tolist()
    assert read(tmp_path / "x.npz").ecg is None


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npz(recording(), tmp_path / "x.npz")
    before = (tmp_path / "x.npz").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(FileError, match="No space left"):
        write_npz(recording(rate_hz=5.0), tmp_path / "x.npz")
    assert (tmp_path / "x.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_an_archive_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "sprung"),))  # type: ignore[return-value]

    assert pickle.dumps(Trap())  # it would go off if it were loaded
    np.savez(tmp_path / "x.npz", signals=np.array([Trap(), Trap()], dtype=object), fs=1000)
    with pytest.raises(DataError, match="no variable holds a signal"):
        read(tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


def test_an_ecg_of_an_archive_at_its_own_rate_is_attached(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pcg=NOISE[0], fs=1000, EKG=NOISE[1, :750], ecg_fs=250)
    got = read(tmp_path / "x.npz")
    assert got.ecg is not None
    assert (got.ecg.size, got.ecg_rate_hz) == (750, 250.0)


def test_a_missing_rate_is_refused_with_the_names_looked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pcg=NOISE[0])
    with pytest.raises(DataError, match=r"fs, .*give rate_hz="):
        read(tmp_path / "x.npz")


def test_indices_name_channels_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE.T * 0.1, 1000, "FLOAT")
    assert read(tmp_path / "x.wav", channels=("1",)).channels == ("ch2",)
    with pytest.raises(DataError, match="0 to 1"):
        read(tmp_path / "x.wav", channels=("2",))
    with pytest.raises(DataError, match="no channels"):
        read(tmp_path / "x.wav", channels=())


def test_an_ecg_that_was_named_is_a_signal(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,ECG,seat\n" + "".join(f"{i / 100},{i % 7},{i % 5}\n" for i in range(300)))
    got = read(tmp_path / "x.csv", channels=("seat", "ECG"))
    assert got.channels == ("seat", "ECG")
    assert got.ecg is None


def test_an_ecg_file_without_a_rate_has_that_of_the_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE.T * 0.1, 1000, "FLOAT")
    np.savetxt(tmp_path / "ecg.csv", NOISE[0])
    assert read(tmp_path / "x.wav", ecg=tmp_path / "ecg.csv").ecg_rate_hz == 1000.0


def test_an_ecg_file_replaces_the_ecg_beside_the_signal(tmp_path: Path) -> None:
    write_npz(recording(), tmp_path / "x.npz")
    soundfile.write(tmp_path / "ecg.wav", NOISE[1] * 0.1, 333, "FLOAT")
    got = read(tmp_path / "x.npz", ecg=tmp_path / "ecg.wav")
    assert got.ecg is not None
    np.testing.assert_array_equal(got.ecg, NOISE[1] * np.float32(0.1))
    assert got.ecg_rate_hz == 333.0


def test_an_ecg_of_another_measurement_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE.T * 0.1, 1000, "FLOAT")
    soundfile.write(tmp_path / "ecg.wav", np.tile(NOISE[0] * 0.1, 3), 1000, "FLOAT")
    soundfile.write(tmp_path / "two.wav", NOISE.T * 0.1, 1000, "FLOAT")
    soundfile.write(tmp_path / "flat.wav", NOISE[0] * 0.0, 1000, "FLOAT")
    for name, why in (
        ("ecg.wav", r"9\.0 s.*3\.0 s"),
        ("two.wav", "which is the ECG"),
        ("flat.wav", "constant"),
    ):
        with pytest.raises(DataError, match=why):
            read(tmp_path / "x.wav", ecg=tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "x.wav", ecg=tmp_path / "gone.wav")


def test_a_layout_of_mat_files_is_refused_elsewhere(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE.T * 0.1, 1000, "FLOAT")
    with pytest.raises(DataError, match="240219"):
        read(tmp_path / "x.wav", layout="240219")
    with pytest.raises(DataError, match="allowed"):
        read(tmp_path / "x.wav", layout="wave")


@given(
    rate_hz=st.sampled_from([62.5, 100.0, 128.0, 500.0, 1000.0, 1024.0, 4000.0, 32000.0]),
    start_s=st.floats(0, 1000),
    n=st.integers(50, 3000),
)
def test_a_rate_is_found_through_float32_times(rate_hz: float, start_s: float, n: int) -> None:
    """As near as the times' resolution allows; the exact rate where it is the roundest of those."""
    times = (start_s + np.arange(n) / rate_hz).astype(np.float32)
    quantum = float(np.spacing(times[-1]))
    span_s = (n - 1) / rate_hz
    slack_hz = rate_hz * quantum / span_s
    if slack_hz > 0.01 * rate_hz:
        return  # a span of a few roundings says little
    got = rate_of(times.astype(np.float64), quantum, Path("x"), "Time")
    assert abs(got - rate_hz) <= 2.1 * slack_hz + 2e-6 * rate_hz
    if rate_hz in (1000.0, 4000.0, 32000.0):
        assert got == rate_hz


@given(at=st.integers(1, 998), n_lost=st.integers(1, 5), rate_hz=st.sampled_from([10.0, 1000.0, 32000.0]))
def test_lost_samples_are_always_seen(at: int, n_lost: int, rate_hz: float) -> None:
    times = np.arange(1000) / rate_hz
    assert is_even(times, 1e-9 / rate_hz)
    times[at:] += n_lost / rate_hz
    assert not is_even(times, 1e-9 / rate_hz)


def test_a_lost_sample_is_seen_in_times_as_coarse_as_the_samples() -> None:
    """Rounding makes odd steps too, but evenly strewn ones: they are no fault."""
    times = np.arange(1000) / 10
    times[400:] += 0.1
    assert not is_even(times, 0.1)
    assert is_even(np.round(np.arange(1000) / 32, 2), 0.01)
    assert is_even((300 + np.arange(9600) / 32000).astype(np.float32).astype(np.float64), 3.1e-5)


def test_beats_annotated_beyond_the_end_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", hs=NOISE[0], fs=1000, r_peaks_s=[2.9, 3.1, 0.4, -0.2])
    r_peaks_s = read(tmp_path / "x.npz").r_peaks_s
    assert r_peaks_s is not None
    assert r_peaks_s.tolist() == [0.4, 2.9]


def test_r_peaks_outside_of_the_recording_are_noted_with_the_unit_that_they_look_like(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", hs=NOISE[0], fs=1000, r_peaks_s=[500, 1250, 2000])
    recording = read(tmp_path / "x.npz")
    assert recording.r_peaks_s is None
    assert recording.notes == (
        "3 of 3 R peaks are outside of the recording's 3 s; they look like sample numbers or ms, but are read as "
        "seconds; those are left out",
    )
    np.savez(tmp_path / "y.npz", hs=NOISE[0], fs=1000, r_peaks_s=[0.5, 1.25, 2.0, 3.5])
    assert read(tmp_path / "y.npz").notes == ("1 of 4 R peaks are outside of the recording's 3 s; those are left out",)


def test_a_drift_of_more_than_one_percent_is_seen() -> None:
    steps = np.full(1000, 0.001)
    assert is_even(np.cumsum(steps), 0.0)
    steps[500:] *= 1.03
    assert not is_even(np.cumsum(steps), 0.0)


def test_names_that_say_ecg() -> None:
    assert all(map(is_ecg, ("ecg", "ECG", "ekg", "ECG_data", "ECG II", "ecg1", " EKG-2 ")))
    assert not any(map(is_ecg, ("ecgonine", "pcg", "decg", "ch1z", "EC G", "")))


def test_equal_names_of_our_own_archive_are_numbered(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 300))
    np.savez(tmp_path / "x.npz", signals=noise, rate_hz=500.0, channels=["seat", "seat"])
    assert read(tmp_path / "x.npz").channels == ("seat", "seat #2")
