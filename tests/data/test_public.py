"""What single converters accept and refuse, beyond the contract of all (tests/training/test_collections.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.errors import DataError
from data.public.cinc2016 import TERMS
from data.public.collection import Item, in_order, items_of
from data.public.table import COLLECTIONS
from data.readers.names import natural
from data.recording import Recording
from tests.support.published import (
    CHEST_HZ,
    CINC2016,
    EPHNOGRAM,
    REALDATA2,
    SENSORS_HZ,
    SENSSMARTTECH,
    Published,
    beating,
    beats_of_ecg,
    save_wfdb,
)


def items(name: str, folder: Path) -> dict[str, Item]:
    return {item.name: item for item in items_of(COLLECTIONS[name], folder)}


def phone(path: Path, heading: str, n_columns: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    times_s = np.arange(1200) / CHEST_HZ
    table = np.column_stack([times_s, *np.random.default_rng(3).standard_normal((n_columns - 1, times_s.size))])
    np.savetxt(path, table, fmt="%.9f", delimiter=",", header=heading, comments="")


@pytest.mark.parametrize(
    "heading",
    ["seconds_elapsed,x,y,z", "t,Acc X,Acc Y,Acc Z", 'time,"ax","ay","az"', "Time (s),X [m/s^2],Y [m/s^2],Z [m/s^2]"],
)
@pytest.mark.parametrize(
    ("file", "name", "group"),
    [
        ("Subject_0007/Recording_002/scg.csv", "Subject_0007_Recording_002", "mscardio-0007"),
        ("raw/s7/rest 1.csv", "s7_rest_1", "mscardio-0007"),
        ("subject-7_rec2.csv", "subject-7_rec2", "mscardio-0007"),
    ],
)
def test_phones_are_found_by_subjects_in_folders_or_names(
    heading: str, file: str, name: str, group: str, tmp_path: Path
) -> None:
    phone(tmp_path / file, heading)
    ((found, item),) = items("mscardio", tmp_path).items()
    assert (found, item.group) == (name, group)
    recording = item.load()
    assert recording.channels == ("x", "y", "z")
    assert recording.rate_hz == pytest.approx(CHEST_HZ)


def test_a_table_without_axes_is_no_recording_of_a_phone(tmp_path: Path) -> None:
    phone(tmp_path / "Subject_0001" / "a.csv", "t,x,y", n_columns=3)
    with pytest.raises(DataError, match="is not MSCardio: no CSV file with the columns x, y and z"):
        items("mscardio", tmp_path)
    phone(tmp_path / "Subject_0001" / "b.csv", "t,x,y,z")
    assert [*items("mscardio", tmp_path)] == ["Subject_0001_b"]


def test_recordings_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for i in (10, 9, 2):
        phone(tmp_path / f"s1/rec{i}.csv", "t,x,y,z")
    assert [*items("mscardio", tmp_path)] == ["s1_rec2", "s1_rec9", "s1_rec10"]
    assert sorted(["b2", "a10", "a9", "1"], key=natural) == ["1", "a9", "a10", "b2"]


def test_copies_of_the_challenge_are_not_taken_twice(tmp_path: Path) -> None:
    CINC2016.write(tmp_path)
    found = items("cinc2016", tmp_path)
    assert found["a0001"].source == "training-a/a0001.hea"
    (tmp_path / "training-a" / "a0001.hea").unlink()
    (tmp_path / "training-a" / "a0001.wav").unlink()
    assert items("cinc2016", tmp_path)["a0001"].source == "validation/a0001.wav"


def test_the_class_of_a_header_is_taken_where_no_table_has_it(tmp_path: Path) -> None:
    CINC2016.write(tmp_path)
    for table in tmp_path.rglob("REFERENCE.csv"):
        table.unlink()
    assert {name: item.label for name, item in items("cinc2016", tmp_path).items()} == {
        "a0001": "abnormal",
        "a0002": "normal",
        "e00003": "normal",
    }


def test_a_sound_of_two_microphones_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a0001.wav", np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 2)), 2000)
    with pytest.raises(DataError, match=r"a0001.wav: 2 channels; the sound of one microphone is needed"):
        items("cinc2016", tmp_path)["a0001"].load()


def test_an_ecg_of_another_length_is_refused(tmp_path: Path) -> None:
    SENSSMARTTECH.write(tmp_path)
    save_wfdb(tmp_path / "WFDB", "2_14-08-15_ecg", {"II": beats_of_ecg(SENSORS_HZ, seconds=20.0)}, SENSORS_HZ, "32")
    with pytest.raises(DataError, match=r"this ECG lasts 20.0 s, 2_14-08-15_pcg.hea 12.0 s"):
        items("senssmarttech", tmp_path)["2_14-08-15_pcg"].load()


def test_a_record_without_an_ecg_is_taken_without_it(tmp_path: Path) -> None:
    save_wfdb(tmp_path, "3_09-00-00_acc", {"az": beating(SENSORS_HZ), "ax": beating(SENSORS_HZ, 50)}, SENSORS_HZ, "32")
    recording = items("senssmarttech", tmp_path)["3_09-00-00_acc"].load()
    assert (recording.channels, recording.ecg) == (("z", "x"), None)


def test_the_lead_ii_is_the_ecg(tmp_path: Path) -> None:
    SENSSMARTTECH.write(tmp_path)
    recording = items("senssmarttech", tmp_path)["10_18-12-33_acc"].load()
    assert recording.ecg is not None
    np.testing.assert_allclose(recording.ecg, beats_of_ecg(SENSORS_HZ), atol=1e-5)


def test_without_the_spreadsheet_people_are_not_told_apart(tmp_path: Path) -> None:
    EPHNOGRAM.write(tmp_path)
    (tmp_path / "ECGPCGSpreadsheet.csv").unlink()
    assert {item.group for item in items("ephnogram", tmp_path).values()} == {"ephnogram"}


def test_other_sensors_of_a_phone_are_no_accelerometers(tmp_path: Path) -> None:
    folder = tmp_path / "Subject_0001"
    for name in ("Gyroscope", "Gravity", "Magnetometer", "Orientation", "AccelerometerUncalibrated", "Accelerometer"):
        phone(folder / f"{name}.csv", "t,x,y,z")
    assert [*items("mscardio", tmp_path)] == ["Subject_0001_Accelerometer"]


def test_a_lead_that_was_not_connected_is_passed_over(tmp_path: Path) -> None:
    """The first lead that was connected is the ECG; without any the heart sound is taken without it."""
    SENSSMARTTECH.write(tmp_path)
    flat, beats = np.zeros_like(beats_of_ecg(SENSORS_HZ)), beats_of_ecg(SENSORS_HZ)
    for leads, has_ecg in (({"II": flat, "I": flat, "V4": beats}, True), ({"II": flat}, False)):
        save_wfdb(tmp_path / "WFDB", "10_18-12-33_ecg", leads, SENSORS_HZ, "32")
        ecg = items("senssmarttech", tmp_path)["10_18-12-33_acc"].load().ecg
        assert (ecg is not None) == has_ecg
        if ecg is not None:
            np.testing.assert_allclose(ecg, beats, atol=1e-5)


def test_names_that_occur_twice_are_refused_whatever_stands_between() -> None:
    def load() -> Recording:
        raise AssertionError("not loaded")

    one, two, three = (Item(name, "microphone", "g", name, TERMS, load) for name in ("a01", "a1", "a01"))
    with pytest.raises(DataError, match="have one name, 'a01'"):
        in_order([one, two, three])


def test_a_file_that_is_not_that_of_the_manifest_is_refused(tmp_path: Path) -> None:
    """Also one of many recordings: it is then a single one that cannot be loaded."""
    REALDATA2.write(tmp_path)
    path = tmp_path / "heart_pcg" / "cinc2016_a.npz"
    path.write_bytes(path.read_bytes() + b" ")
    found = items("realdata2", tmp_path)
    assert "cinc2016-a0001" not in found
    with pytest.raises(DataError, match=r"cinc2016_a.npz: damaged: its SHA-256 is not that in manifest.json"):
        found["cinc2016-cinc2016-a"].load()


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '[{"file": "heart_pcg/a.npz"}]', "[1]"])
def test_the_manifest_of_something_else_is_not_the_collection(content: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="is not the packed recordings"):
        items("realdata2", tmp_path)


def test_a_manifest_names_no_file_outside_of_its_folder(tmp_path: Path) -> None:
    REALDATA2.write(tmp_path / "in")
    (tmp_path / "vehicle").mkdir()
    entries = json.loads((tmp_path / "in" / "manifest.json").read_text("utf-8"))
    for entry in entries:
        entry["file"] = f"heart_scg/../../{entry['file']}"
    (tmp_path / "in" / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(DataError, match="is not the packed recordings"):
        items("realdata2", tmp_path / "in")


def test_the_vertical_axis_of_a_vehicle_is_z(tmp_path: Path) -> None:
    """Whatever it was called: that of ride_1 is the first of its file."""
    REALDATA2.write(tmp_path)
    with np.load(tmp_path / "vehicle" / "ride_1.npz") as archive:
        packed = archive["x"].T.astype(np.float32) * archive["scale"]
    recording = items("realdata2", tmp_path)["ride-1"].load()
    assert recording.channels == ("z", "x", "y")
    np.testing.assert_array_equal(recording.signals, packed)
    with np.load(tmp_path / "vehicle" / "drive_1.npz") as archive:
        packed = archive["x"].T.astype(np.float32) * archive["scale"]
    np.testing.assert_array_equal(items("realdata2", tmp_path)["drive-1"].load().signals, packed[[2, 0, 1]])


@pytest.mark.parametrize(
    ("published", "table"),
    [(CINC2016, "REFERENCE.csv"), (EPHNOGRAM, "ECGPCGSpreadsheet.csv")],
    ids=["cinc", "ephnogram"],
)
def test_a_table_that_cannot_be_read_is_named(published: Published, table: str, tmp_path: Path) -> None:
    """Its cell is longer than any; a collection without its groups or classes would be silently another."""
    published.write(tmp_path)
    (tmp_path / table).write_text(f'Record Name,"{"x" * 200_000}"\n', encoding="utf-8")
    with pytest.raises(DataError, match=rf"{table}: cannot be read as a table"):
        items(published.name, tmp_path)
