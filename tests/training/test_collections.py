"""The contract of the converters of public collections: what comes out, what is refused, and what an end midway leaves.

Every collection of the table is held to it, on a small one in the layout of its authors (tests/support/published.py).
"""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.config import GroupTable
from data.errors import DataError
from data.groups import groups_of
from data.public.collection import items_of
from data.public.store import COLUMNS
from data.public.table import COLLECTIONS, collection
from data.readers.read import read
from tests.support.published import CINC2016, PUBLISHED, Published
from training.collect import Collected, collect

TRUNCATED = 0.4  # of the bytes of a file


@pytest.fixture(params=PUBLISHED, ids=lambda published: published.name)
def published(request: pytest.FixtureRequest) -> Published:
    found: Published = request.param
    return found


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each collection under its name."""
    folder = tmp_path_factory.mktemp("published")
    for each in PUBLISHED:
        each.write(folder / each.name)
    return folder


@pytest.fixture
def source(published: Published, collections: Path, tmp_path: Path) -> Path:
    """A copy of the collection, which the test may change."""
    shutil.copytree(collections / published.name, tmp_path / "source")
    return tmp_path / "source"


def converted(published: Published, source: Path, folder: Path, **options: Any) -> Collected:
    return collect(COLLECTIONS[published.name], source, folder, **options)


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "recordings.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["file"]).stem: row for row in csv.DictReader(file)}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_collection_of_the_table_is_held_to_the_contract() -> None:
    assert sorted(COLLECTIONS) == sorted(each.name for each in PUBLISHED)


@pytest.mark.parametrize("is_variant", [False, True], ids=["as published", "other folders and letters"])
def test_each_recording_has_its_channels_rate_group_and_label(
    is_variant: bool, published: Published, tmp_path: Path
) -> None:
    source, folder = tmp_path / "source", tmp_path / "out"
    (published.variant if is_variant else published.write)(source)
    done = converted(published, source, folder)
    rows = rows_of(folder)
    assert {name.lower() for name in rows} == {name.lower() for name in published.expected}
    by_name = {name.lower(): row for name, row in rows.items()}
    for name, expected in published.expected.items():
        row = by_name[name.lower()]
        assert row["refused"] == "", name
        assert (row["kind"], row["group"], row["label"].lower()) == (expected.kind, expected.group, expected.label)
        recording = read(folder / row["file"])
        assert recording.channels == expected.channels
        assert recording.rate_hz == pytest.approx(expected.rate_hz, rel=1e-4)
        assert float(row["rate_hz"]) == recording.rate_hz
        assert float(row["seconds"]) == pytest.approx(recording.duration_s, abs=0.01)
        if not is_variant:
            assert recording.ecg_rate_hz == expected.ecg_hz
        if expected.kind == "vehicle":
            assert row["grade"] == row["heart_rate_bpm"] == ""
        else:
            assert row["grade"] in ("A", "B")
            assert float(row["heart_rate_bpm"]) == pytest.approx(72, abs=13)
    assert done.n_written == len(rows)


def test_files_hold_the_loaded_samples_bit_by_bit(published: Published, source: Path, tmp_path: Path) -> None:
    """Also those of the ECG. The best axis of a heart on the chest comes first."""
    converted(published, source, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    for item in items_of(COLLECTIONS[published.name], source):
        loaded, stored = item.load(), read(tmp_path / "out" / rows[item.name]["file"])
        order = [loaded.channels.index(name) for name in stored.channels]
        assert sorted(order) == list(range(len(loaded.channels)))
        np.testing.assert_array_equal(stored.signals, loaded.signals[order])
        assert (stored.rate_hz, stored.ecg_rate_hz) == (loaded.rate_hz, loaded.ecg_rate_hz)
        if loaded.ecg is not None and stored.ecg is not None:
            np.testing.assert_array_equal(stored.ecg, loaded.ecg)


def test_the_table_gives_groups_to_a_study(published: Published, source: Path, tmp_path: Path) -> None:
    """Every file has a row, and none names the machine that it was written on."""
    folder = tmp_path / "out"
    done = converted(published, source, folder)
    paths = sorted(folder.rglob("*.npz"))
    groups = groups_of(paths, GroupTable(str(done.table), "group"))
    assert {path.stem: group for path, group in groups.items()} == {
        name: expected.group for name, expected in published.expected.items()
    }
    rows = rows_of(folder)
    assert all(tuple(row) == COLUMNS for row in rows.values())
    assert all(row["shippable"] in ("yes", "no") and row["licence"] and row["source"] for row in rows.values())
    assert str(source) not in done.table.read_text(encoding="utf-8")


def test_another_folder_is_refused_with_the_files_that_were_looked_for(
    published: Published, collections: Path, tmp_path: Path
) -> None:
    others = [collections / each.name for each in PUBLISHED if each is not published]
    (tmp_path / "empty").mkdir()
    for other in (*others, tmp_path / "empty"):
        with pytest.raises(DataError) as raised:
            converted(published, other, tmp_path / "out")
        message = str(raised.value)
        found = COLLECTIONS[published.name]
        assert message.startswith(f"{other}: is not {found.title}: no {found.looked_for}")
        assert "\n" not in message
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="does not exist"):
        converted(published, tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("kept", [TRUNCATED, 0.0], ids=["cut off", "empty"])
def test_a_truncated_file_is_listed_and_the_others_are_written(
    kept: float, published: Published, source: Path, tmp_path: Path
) -> None:
    """Copied again, it is written by the same command, and the others are left alone."""
    file, name = published.damaged
    whole = (source / file).read_bytes()
    (source / file).write_bytes(whole[: int(kept * len(whole))])
    if published.name == "mscardio" and kept:
        # A table that ends midway is a shorter table; one that ends within a number is not.
        (source / file).write_bytes(b"\n".join([*whole[: len(whole) // 2].splitlines()[:-1], b"1,2"]))
    folder = tmp_path / "out"
    done = converted(published, source, folder)
    assert done.n_written == len(published.expected) - 1
    row = rows_of(folder)[name]
    assert row["refused"].startswith("unreadable: ")
    assert Path(file).stem in row["refused"]
    assert not (folder / row["file"]).exists()
    assert done.refused == {"unreadable": 1}
    before = files_in(folder)

    (source / file).write_bytes(whole)
    again = converted(published, source, folder)
    assert (again.n_written, again.n_existing) == (1, done.n_written)
    after = files_in(folder)
    assert {path for path in before if before[path] != after[path]} == {"recordings.csv"}
    assert rows_of(folder)[name]["refused"] == ""


def test_an_interrupted_command_leaves_no_half_file_and_goes_on(
    published: Published, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted within the writing of each file in turn, then run to its end, it has written what one run writes."""
    converted(published, source, tmp_path / "whole")
    folder = tmp_path / "out"
    savez = np.savez
    for n_written in range(len(published.expected)):

        def half(path: Path, **arrays: Any) -> None:
            Path(path).write_bytes(b"half of a file")
            raise KeyboardInterrupt

        written: list[Path] = []

        def one_more(
            path: Path, half: Callable[..., None] = half, written: list[Path] = written, **arrays: Any
        ) -> None:
            if written:
                half(path, **arrays)
            written.append(path)
            savez(path, **arrays)

        is_last = n_written == len(published.expected) - 1
        with monkeypatch.context() as patched:
            patched.setattr(np, "savez", one_more)
            if is_last:
                converted(published, source, folder)
            else:
                with pytest.raises(KeyboardInterrupt):
                    converted(published, source, folder)
        assert len(rows_of(folder)) == n_written + 1
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".csv", ".npz"}
        assert not list(folder.rglob(".*"))
    assert files_in(folder) == files_in(tmp_path / "whole")
    again = converted(published, source, folder)
    assert (again.n_written, again.n_existing) == (0, len(published.expected))


def test_a_deleted_file_is_written_again(published: Published, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    converted(published, source, folder)
    before = files_in(folder)
    next(folder.rglob("*.npz")).unlink()
    assert converted(published, source, folder).n_written == 1
    assert files_in(folder) == before


def test_a_folder_of_another_collection_is_not_written_to(
    published: Published, collections: Path, tmp_path: Path
) -> None:
    other = PUBLISHED[0] if published is not PUBLISHED[0] else PUBLISHED[1]
    converted(other, collections / other.name, tmp_path / "out")
    before = files_in(tmp_path / "out")
    with pytest.raises(DataError, match=f"holds recordings of {other.name}, not of {published.name}"):
        converted(published, collections / published.name, tmp_path / "out")
    assert files_in(tmp_path / "out") == before


def test_an_unknown_collection_is_named_with_those_that_there_are() -> None:
    with pytest.raises(DataError, match=r"no collection 'cinc2015' \(did you mean 'cinc2016'\?\); known are mscardio"):
        collection("cinc2015")


def test_recordings_with_the_same_samples_are_written_once(tmp_path: Path) -> None:
    """A study refuses a folder with two of them. The first is kept, also when a command goes on."""
    CINC2016.write(tmp_path / "in")
    for name in ("a0009", "b0001"):
        shutil.copy(tmp_path / "in" / "training-e" / "e00003.wav", tmp_path / "in" / f"{name}.wav")
    for n_before in (0, 4):
        done = converted(CINC2016, tmp_path / "in", tmp_path / "out")
        assert (done.n_written, done.n_existing) == (4 - n_before, n_before)
        assert done.refused == {"copied": 1}
    rows = rows_of(tmp_path / "out")
    assert rows["b0001"]["refused"] == f"copied: the same samples as {rows['a0009']['file']}"


def test_a_later_command_mends_groups_and_a_file_that_is_gone_is_no_copy(tmp_path: Path) -> None:
    """The table says what the collection says now; a row whose file was moved away stands for no samples."""
    CINC2016.write(tmp_path / "in")
    converted(CINC2016, tmp_path / "in", tmp_path / "out")
    table = tmp_path / "out" / "recordings.csv"
    groups = {name: row["group"] for name, row in rows_of(tmp_path / "out").items()}
    text = table.read_text(encoding="utf-8")
    for group in set(groups.values()):
        text = text.replace(f",{group},", ",wrong,")
    table.write_text(text, encoding="utf-8")
    assert {row["group"] for row in rows_of(tmp_path / "out").values()} == {"wrong"}
    row = rows_of(tmp_path / "out")["e00003"]
    (tmp_path / "out" / row["file"]).unlink()
    (tmp_path / "in" / "training-e" / "e00003.wav").rename(tmp_path / "in" / "e00009.wav")
    for path in (tmp_path / "in").rglob("e00003.*"):
        path.unlink()
    converted(CINC2016, tmp_path / "in", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert {name: rows[name]["group"] for name in ("a0001", "a0002")} == {
        name: groups[name] for name in ("a0001", "a0002")
    }
    assert rows["e00009"]["refused"] == "" and (tmp_path / "out" / rows["e00009"]["file"]).is_file()
