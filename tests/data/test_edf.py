"""EDF and BDF files: physical units, each channel at its own rate, nothing joined over a gap."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.read import read, variables

Write = Callable[..., None]
EDF_STEP, BDF_STEP = 1.01 / 2**15, 1.01 / 2**23 + 1e-7


def tone(rate_hz: float, tone_hz: float = 5.0, seconds: float = 4.0) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.sin(2 * np.pi * tone_hz * np.arange(round(seconds * rate_hz)) / rate_hz), np.float64)


def header_field(path: Path, at: int, text: bytes) -> None:
    """Overwrite a field of the header, padded to its own length by the caller."""
    content = bytearray(path.read_bytes())
    content[at : at + len(text)] = text
    path.write_bytes(content)


@pytest.mark.parametrize(("suffix", "step"), [(".edf", EDF_STEP), (".bdf", BDF_STEP)])
def test_values_are_in_physical_units_as_the_digital_samples_in_the_file_give(
    suffix: str, step: float, save_edf: Write, tmp_path: Path
) -> None:
    """Decoded here by the definition of the format: integers after the header, scaled from digital to physical."""
    path = tmp_path / f"x{suffix}"
    save_edf(path, {"PCG": tone(512.0)}, 512.0)
    content = path.read_bytes()
    n_header, n_records = int(content[184:192]), int(content[236:244])
    width = 2 if suffix == ".edf" else 3
    records = np.frombuffer(content[n_header:], np.uint8).reshape(n_records, -1)[:, : 512 * width].reshape(-1, width)
    wide = np.zeros((len(records), 4), np.uint8)
    wide[:, 4 - width :] = records
    digital = wide.view("<i4")[:, 0] / 2.0 ** (8 * (4 - width))
    largest = 2.0 ** (8 * width - 1)
    physical = (digital + largest) / (2 * largest - 1) * 2 - 1
    np.testing.assert_allclose(read(path).signals[0], physical, rtol=0, atol=1e-6)
    np.testing.assert_allclose(read(path).signals[0], tone(512.0), rtol=0, atol=step)
    assert [str(v) for v in variables(path)] == ["PCG (2048 mV)"]


def test_channels_of_other_rates_are_resampled_to_the_first_and_the_ecg_keeps_its_own(
    save_edf: Write, tmp_path: Path
) -> None:
    path = tmp_path / "x.edf"
    save_edf(path, {"acc": tone(1000.0), "belt": tone(250.0), "ECG I": tone(200.0)}, (1000.0, 250.0, 200.0))
    recording = read(path)
    assert (recording.rate_hz, recording.ecg_rate_hz, recording.lowest_rate_hz) == (1000.0, 200.0, 250.0)
    assert recording.channels == ("acc", "belt")
    inner = slice(200, -200)
    np.testing.assert_allclose(recording.signals[1, inner], tone(1000.0)[inner], rtol=0, atol=0.01)
    assert recording.ecg is not None
    np.testing.assert_allclose(recording.ecg, tone(200.0), rtol=0, atol=EDF_STEP)
    assert recording.notes == ("channel belt is resampled from 250 Hz to 1000 Hz",)


@pytest.mark.parametrize("label", ["ECG", "ECG I", "EKG", "ECG V1-Ref", "ecg ", "EKG1"])
def test_a_lead_of_an_ecg_is_the_ecg(label: str, save_edf: Write, tmp_path: Path) -> None:
    save_edf(tmp_path / "x.edf", {"PCG": tone(256.0), label: tone(256.0, 1.0)}, 256.0)
    recording = read(tmp_path / "x.edf")
    assert recording.channels == ("PCG",)
    assert recording.ecg is not None
    np.testing.assert_allclose(recording.ecg, tone(256.0, 1.0), rtol=0, atol=EDF_STEP)


def test_annotations_are_no_signal(save_edf: Write, tmp_path: Path) -> None:
    """EDF+ keeps them in a channel of its own."""
    save_edf(tmp_path / "x.edf", {"PCG": tone(256.0)}, 256.0)
    assert b"EDF Annotations" in (tmp_path / "x.edf").read_bytes()
    assert read(tmp_path / "x.edf").channels == ("PCG",)
    assert len(variables(tmp_path / "x.edf")) == 1


def test_the_trigger_channel_of_a_bdf_file_is_no_signal(save_edf: Write, tmp_path: Path) -> None:
    save_edf(tmp_path / "x.bdf", {"A1": tone(256.0), "Status": tone(256.0, 1.0), "A2": tone(256.0, 2.0)}, 256.0)
    recording = read(tmp_path / "x.bdf")
    assert recording.channels == ("A1", "A2")
    np.testing.assert_allclose(recording.signals[1], tone(256.0, 2.0), rtol=0, atol=BDF_STEP)
    assert recording.notes == ("channel Status is left out: it holds triggers",)


def test_labels_that_repeat_are_told_apart(save_edf: Write, tmp_path: Path) -> None:
    save_edf(tmp_path / "x.edf", {"acc": tone(256.0), "acc ": tone(256.0, 2.0)}, 256.0)
    assert read(tmp_path / "x.edf").channels == ("acc", "acc #2")
    recording = read(tmp_path / "x.edf", channels=("acc #2",))
    np.testing.assert_allclose(recording.signals[0], tone(256.0, 2.0), rtol=0, atol=EDF_STEP)


@pytest.mark.parametrize("label", [b"a\x1b[2Jb", b"a\xffb", b""])
def test_labels_cannot_steer_a_terminal_and_need_not_be_utf_8(label: bytes, save_edf: Write, tmp_path: Path) -> None:
    save_edf(tmp_path / "x.edf", {"PCG": tone(256.0)}, 256.0)
    header_field(tmp_path / "x.edf", 256, label.ljust(16))
    try:
        (name,) = read(tmp_path / "x.edf").channels
    except DataError as error:  # the library refuses characters that the format does not allow
        name = str(error)
    assert name and name.isprintable()


@pytest.mark.parametrize(("suffix", "kind"), [(".edf", b"EDF+D"), (".bdf", b"BDF+D")])
def test_a_discontinuous_file_is_refused_with_what_to_do(
    suffix: str, kind: bytes, save_edf: Write, tmp_path: Path
) -> None:
    """Its pieces would be joined as if there were no gaps between them."""
    path = tmp_path / f"x{suffix}"
    save_edf(path, {"PCG": tone(256.0)}, 256.0)
    header_field(path, 192, kind)
    for action in (read, variables):
        with pytest.raises(DataError, match=rf"discontinuous \({kind.decode().replace('+', '.')}\).*EDFbrowser"):
            action(path)


def test_a_recording_that_was_not_finished_is_refused_with_what_to_do(save_edf: Write, tmp_path: Path) -> None:
    save_edf(tmp_path / "x.edf", {"PCG": tone(256.0)}, 256.0)
    header_field(tmp_path / "x.edf", 236, b"-1      ")
    with pytest.raises(DataError, match=r"did not finish it .*repair its header"):
        read(tmp_path / "x.edf")


@pytest.mark.parametrize("change", [-1, -500, 1, 500])
def test_a_file_of_another_size_than_its_header_states_is_refused_and_nothing_is_printed(
    change: int, save_edf: Write, tmp_path: Path, capfd: Any
) -> None:
    path = tmp_path / "x.edf"
    save_edf(path, {"PCG": tone(256.0)}, 256.0)
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(DataError, match="cut off: .*copy the file again" if change < 0 else "repair its header"):
        read(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("at", "text"), [(236, b"many    "), (252, b"x   "), (244, b"0       "), (0, b"1       ")])
def test_a_broken_header_is_refused_in_one_line_and_nothing_is_printed(
    at: int, text: bytes, save_edf: Write, tmp_path: Path, capfd: Any
) -> None:
    save_edf(tmp_path / "x.edf", {"PCG": tone(256.0)}, 256.0)
    header_field(tmp_path / "x.edf", at, text)
    with pytest.raises(DataError, match=r"x\.edf: ") as got:
        read(tmp_path / "x.edf")
    assert "\n" not in str(got.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_of_annotations_alone_is_refused(tmp_path: Path) -> None:
    import pyedflib

    with pyedflib.EdfWriter(str(tmp_path / "x.edf"), 0, file_type=pyedflib.FILETYPE_EDFPLUS) as file:
        file.writeAnnotation(0.5, 0.1, "beat")
    with pytest.raises(DataError, match=r"x\.edf: "):
        read(tmp_path / "x.edf")


def test_a_file_is_read_again_after_an_error_and_while_it_is_open(save_edf: Write, tmp_path: Path) -> None:
    """The library refuses a file that it has open already, and it has room for 64 of them."""
    import pyedflib

    path = tmp_path / "x.edf"
    save_edf(path, {"PCG": tone(256.0)}, 256.0)
    with pyedflib.EdfReader(str(path)):
        for _ in range(100):
            with pytest.raises(DataError, match="no channel"):
                read(path, channels=("other",))
        assert read(path).channels == ("PCG",)


def test_a_name_that_is_no_utf_8_is_read(save_edf: Write, tmp_path: Path) -> None:
    save_edf(tmp_path / "x.edf", {"PCG": tone(256.0)}, 256.0)
    path = (tmp_path / "x.edf").rename(tmp_path / "x\udcff.edf")
    assert read(path).channels == ("PCG",)


@pytest.mark.parametrize("duration", [b"0       ", b"-1      ", b"none    ", b"1e0     ", b"1E-3    ", b"inf     "])
def test_data_records_without_a_duration_are_refused_with_what_to_do(
    duration: bytes, save_edf: Write, tmp_path: Path
) -> None:
    save_edf(tmp_path / "x.edf", {"PCG": tone(256.0)}, 256.0)
    header_field(tmp_path / "x.edf", 244, duration)
    for action in (read, variables):
        with pytest.raises(DataError, match=r"data records last .* s, which gives no sampling rate; repair"):
            action(tmp_path / "x.edf")


@pytest.mark.parametrize(("lowest", "highest"), [(b"5       ", b"5       "), (b"1000    ", b"-1000   ")])
@pytest.mark.parametrize("kind", [b"EDF+C", b"     "], ids=["EDF+", "EDF"])
def test_a_channel_without_a_range_of_stored_numbers_is_refused(
    kind: bytes, lowest: bytes, highest: bytes, save_edf: Write, tmp_path: Path
) -> None:
    """Its samples would be counts and not in the unit of the channel."""
    path = tmp_path / "x.edf"
    save_edf(path, {"PCG": tone(256.0)}, 256.0)
    n_signals = int(path.read_bytes()[252:256])
    header_field(path, 192, kind)
    header_field(path, 256 + n_signals * (16 + 80 + 3 * 8), lowest)
    header_field(path, 256 + n_signals * (16 + 80 + 4 * 8), highest)
    with pytest.raises(DataError, match=r"[Dd]igital [Mm]"):
        read(path)


def test_a_file_of_triggers_alone_is_refused_by_what_it_holds(save_edf: Write, tmp_path: Path) -> None:
    save_edf(tmp_path / "x.bdf", {"Status": tone(256.0)}, 256.0)
    with pytest.raises(DataError, match=r"holds triggers \(Status\) and no signals; name the file with the signals"):
        read(tmp_path / "x.bdf")
