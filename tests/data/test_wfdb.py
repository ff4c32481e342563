"""WFDB records beyond the common contract."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import DataError
from data.readers.read import read, variables


@pytest.fixture
def wfdb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb
    return wfdb


@pytest.fixture
def record(tmp_path: Path, wfdb: Any) -> Path:
    noise = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp("r1", 500, ["mV", "g"], ["ECG", "z"], noise, fmt=["16", "16"], write_dir=str(tmp_path))
    return tmp_path / "r1.hea"


def test_header_and_signal_file_name_the_same_record(record: Path) -> None:
    one, other = read(record), read(record.with_suffix(".dat"))
    np.testing.assert_array_equal(one.signals, other.signals)
    assert one.channels == ("z",)
    assert one.rate_hz == 500.0


def test_annotated_beats_become_r_peaks_and_other_notes_do_not(record: Path, wfdb: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples, symbols = np.array([100, 300, 500, 900]), ["N", "+", "V", "N"]
        wfdb.wrann("r1", "atr", samples, symbols, aux_note=["", "(N", "", ""], write_dir=str(record.parent))
    r_peaks_s = read(record).r_peaks_s
    assert r_peaks_s is not None
    np.testing.assert_allclose(r_peaks_s, [0.2, 1.0, 1.8])


@pytest.mark.parametrize("gone", [".hea", ".dat"])
def test_a_missing_half_is_named(record: Path, gone: str) -> None:
    record.with_suffix(gone).unlink()
    kept = record.with_suffix(".dat" if gone == ".hea" else ".hea")
    with pytest.raises(DataError, match=f"r1{gone} is not beside it"):
        read(kept)


def test_a_header_of_nonsense_is_refused(record: Path) -> None:
    record.write_text("once upon a time\n")
    with pytest.raises(DataError, match="WFDB header"):
        read(record)


def change(record: Path, old: str, new: str) -> None:
    text = record.read_text()
    assert old in text
    record.write_text(text.replace(old, new))


def segment(folder: Path, wfdb: Any, name: str, samples: Any, rate_hz: float = 500, unit: str = "g") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(name, rate_hz, ["g", unit], ["x", "y"], samples, fmt=["16", "16"], write_dir=str(folder))


def test_a_header_without_a_rate_is_read_at_wfdb_s_default_with_a_note_and_a_rate_that_is_asked_for_counts(
    record: Path,
) -> None:
    change(record, "r1 2 500 2000", "r1 2")
    recording = read(record)
    assert recording.rate_hz == 250.0
    assert "the header states no rate: 250 Hz, the default of WFDB, is taken" in recording.notes
    asked = read(record, rate_hz=500.0)
    assert asked.rate_hz == 500.0
    assert not any("default of WFDB" in note for note in asked.notes)


def test_a_rate_that_is_asked_for_is_that_of_the_ecg_and_of_the_annotations_too(record: Path, wfdb: Any) -> None:
    change(record, "r1 2 500 2000", "r1 2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrann("r1", "atr", np.array([100, 500, 900]), ["N"] * 3, write_dir=str(record.parent))
    recording = read(record, rate_hz=500.0)
    assert recording.ecg is not None and recording.r_peaks_s is not None
    assert (recording.rate_hz, recording.ecg_rate_hz) == (500.0, 500.0)
    assert recording.ecg.size == recording.signals.shape[1]
    np.testing.assert_allclose(recording.r_peaks_s, [0.2, 1.0, 1.8])


def test_a_rate_that_is_asked_for_is_that_of_the_first_signal_where_channels_have_several(
    tmp_path: Path, wfdb: Any
) -> None:
    samples = [np.random.default_rng(i).uniform(-1, 1, 300 * n) for i, n in enumerate((1, 2))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            "r", 500, ["mV", "g"], ["ECG", "z"], e_p_signal=samples, samps_per_frame=[1, 2], fmt=["16"] * 2,
            write_dir=str(tmp_path),
        )  # fmt: skip
    change(tmp_path / "r.hea", "r 2 500 300", "r 2")
    recording = read(tmp_path / "r.hea", rate_hz=1000.0)
    assert (recording.rate_hz, recording.ecg_rate_hz) == (1000.0, 500.0)


def test_a_rate_that_the_library_reads_as_another_is_refused(record: Path) -> None:
    change(record, "r1 2 500 2000", "r1 2 0.5e3 2000")
    with pytest.raises(DataError, match=r"states the rate '0.5e3'"):
        read(record)
    change(record, "0.5e3", "500/1000(0)")
    assert read(record).rate_hz == 500.0


@pytest.mark.parametrize("channels", [None, ("z",), ("z", "ECG")])
def test_samples_of_another_checksum_than_the_header_states_are_refused(
    record: Path, channels: tuple[str, ...] | None
) -> None:
    assert read(record, channels=channels).rate_hz == 500.0
    held = bytearray(record.with_suffix(".dat").read_bytes())
    held[2] ^= 0x10  # the first sample of z
    record.with_suffix(".dat").write_bytes(held)
    with pytest.raises(DataError, match="damaged: the samples of z have the checksum"):
        read(record, channels=channels)
    checksums = [line.split()[6] for line in record.read_text().splitlines()[1:3]]
    change(record, f" {checksums[1]} 0 z", " 0 0 z")  # none is stated
    assert read(record, channels=channels).rate_hz == 500.0


@pytest.mark.parametrize("kind", ["16", "24", "32", "61", "80", "212"])
@pytest.mark.parametrize("per_frame", [[1, 1], [1, 2]])
def test_the_checksum_of_every_format_is_that_of_the_samples(
    kind: str, per_frame: list[int], tmp_path: Path, wfdb: Any
) -> None:
    samples = [np.random.default_rng(i).uniform(-1, 1, 300 * n) for i, n in enumerate(per_frame)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            "r", 500, ["g"] * 2, ["x", "y"], e_p_signal=samples, samps_per_frame=per_frame,
            fmt=["16" if kind == "61" else kind] * 2, write_dir=str(tmp_path),
        )  # fmt: skip
    if kind == "61":  # which the library does not write: 16 with the other order of bytes
        header, stored = tmp_path / "r.hea", tmp_path / "r.dat"
        header.write_text(header.read_text().replace("r.dat 16", "r.dat 61"))
        stored.write_bytes(np.frombuffer(stored.read_bytes(), "<i2").astype(">i2").tobytes())
    np.testing.assert_allclose(read(tmp_path / "r.hea", channels=("x",)).signals, [samples[0]], atol=0.02)


def test_a_signal_file_that_is_too_short_is_refused_with_its_size(record: Path) -> None:
    held = record.with_suffix(".dat").read_bytes()
    record.with_suffix(".dat").write_bytes(held[:-400])
    with pytest.raises(DataError, match=r"r1.dat is cut off: 7600 of 8000 bytes are there"):
        read(record)


def test_a_gap_between_segments_of_the_fixed_layout_is_one_of_the_recording(tmp_path: Path, wfdb: Any) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    segment(tmp_path, wfdb, "a", samples[:800])
    segment(tmp_path, wfdb, "b", samples[800:])
    (tmp_path / "m.hea").write_text("m/3 2 500 2100\na 800\n~ 100\nb 1200\n")
    recording = read(tmp_path / "m.hea")
    assert recording.channels == ("x", "y")
    np.testing.assert_allclose(recording.signals, samples.T, atol=1e-3)
    assert any("gap" in note for note in recording.notes)
    held = bytearray((tmp_path / "b.dat").read_bytes())
    held[0] ^= 0x10
    (tmp_path / "b.dat").write_bytes(held)
    with pytest.raises(DataError, match=r"b\.hea: damaged"):
        read(tmp_path / "m.hea")


def test_a_segment_of_another_length_than_the_record_states_is_refused(tmp_path: Path, wfdb: Any) -> None:
    segment(tmp_path, wfdb, "a", np.random.default_rng(0).uniform(-1, 1, (800, 2)))
    (tmp_path / "m.hea").write_text("m/2 2 500 1700\na 800\na 900\n")
    with pytest.raises(DataError, match="its segment a has other channels or another length"):
        read(tmp_path / "m.hea")


@pytest.mark.parametrize("layout", ["fixed", "variable"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate_hz": 250}, "its segment b has 250 Hz, the record 500 Hz"),
        ({"unit": "mg"}, "channel y is in g in one segment and in mg in b"),
    ],
    ids=["rate", "unit"],
)
def test_segments_of_another_rate_or_unit_are_refused(
    layout: str, changes: dict[str, Any], words: str, tmp_path: Path, wfdb: Any
) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (800, 2))
    segment(tmp_path, wfdb, "a", samples)
    segment(tmp_path, wfdb, "b", samples, **changes)
    lines = ["m/2 2 500 1600", "a 800", "b 800"]
    if layout == "variable":
        lines = ["m/3 2 500 1600", "l 0", *lines[1:]]
        (tmp_path / "l.hea").write_text("l 2 500 0\n~ 0 1/g 0 0 0 0 0 x\n~ 0 1/g 0 0 0 0 0 y\n")
    (tmp_path / "m.hea").write_text("\n".join([*lines, ""]))
    with pytest.raises(DataError, match=words):
        read(tmp_path / "m.hea")


def test_labels_that_repeat_are_numbered(record: Path) -> None:
    change(record, " ECG\n", " z\n")
    assert read(record).channels == ("z", "z #2")
    assert [variable.name for variable in variables(record)] == ["z", "z #2"]
    assert read(record, channels=("z #2",)).channels == ("z #2",)


@pytest.mark.parametrize("gain", ["", "0", "0(0)/g"])
def test_a_gain_that_is_not_stated_is_said_to_be_assumed(gain: str, tmp_path: Path) -> None:
    np.arange(200, dtype="<i2").tofile(tmp_path / "x.dat")
    (tmp_path / "x.hea").write_text(f"x 1 100 200\nx.dat 16 {gain}\n")
    recording = read(tmp_path / "x.hea")
    np.testing.assert_allclose(recording.signals[0], np.arange(200) / 200, rtol=1e-6)
    assert "the header states no gain for ch1: 200 per unit, the default of WFDB, is assumed" in recording.notes
    (tmp_path / "x.hea").write_text("x 1 100 200\nx.dat 16 200/g\n")
    assert read(tmp_path / "x.hea").notes == ()
