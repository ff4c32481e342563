"""Recordings of a person or car stay on one side, whatever they are called; the others are dealt as without groups."""

import dataclasses
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig, GroupTable, Source, SplitConfig
from data.corpus import Corpus, load
from data.errors import DataError
from data.groups import group_in, groups_of
from data.readers.arrays.npz import write_npz
from data.recording import Recording
from data.splits import SPLITS, Entry, deal
from training.decode import decode, encode

RATE_HZ = 500.0
Tree = Callable[..., Path]

ENTRIES = st.lists(
    st.builds(
        Entry,
        role=st.sampled_from(["clean", "noise"]),
        digest=st.integers(0, 10**6).map(lambda n: f"{n:07d}"),
        use=st.sampled_from(["split", "split", "split", "train", "validation", "test"]),
        group=st.sampled_from([None, *"abcdefgh"]),
    ),
    max_size=40,
    unique_by=lambda entry: entry.digest,
)
SPLIT = st.builds(SplitConfig, seed=st.integers(0, 50))


def sides_of(entries: list[Entry], split: SplitConfig) -> dict[str, set[str | None]]:
    """Group -> its splits."""
    sides: dict[str, set[str | None]] = defaultdict(set)
    for entry, side in zip(entries, deal(entries, split), strict=True):
        if entry.group is not None:
            sides[entry.group].add(side)
    return sides


@settings(max_examples=200)
@given(entries=ENTRIES, split=SPLIT)
def test_without_pins_no_group_lies_in_two_splits_and_none_is_divided_in_time(
    entries: list[Entry], split: SplitConfig
) -> None:
    unpinned = [dataclasses.replace(entry, use="split") for entry in entries]
    for sides in sides_of(unpinned, split).values():
        assert len(sides) == 1
        assert sides <= set(SPLITS)


@settings(max_examples=200)
@given(entries=ENTRIES, split=SPLIT)
def test_pins_win_and_the_rest_of_their_group_follows(entries: list[Entry], split: SplitConfig) -> None:
    for entry, side in zip(entries, deal(entries, split), strict=True):
        pins = [e.use for e in entries if e.group is not None and e.group == entry.group and e.use != "split"]
        if entry.use != "split":
            assert side == entry.use
        elif pins:
            assert side == min(pins, key=SPLITS.index)


@settings(max_examples=200)
@given(entries=ENTRIES, split=SPLIT, data=st.data())
def test_dealing_depends_neither_on_the_order_of_the_list_nor_on_the_names_of_groups(
    entries: list[Entry], split: SplitConfig, data: st.DataObject
) -> None:
    before = {entry.digest: side for entry, side in zip(entries, deal(entries, split), strict=True)}
    names = dict(zip("abcdefgh", data.draw(st.permutations("qrstuvwx")), strict=True))
    other = [
        dataclasses.replace(e, group=names[e.group] if e.group else None) for e in data.draw(st.permutations(entries))
    ]
    assert {entry.digest: side for entry, side in zip(other, deal(other, split), strict=True)} == before


@settings(max_examples=200)
@given(entries=ENTRIES, split=SPLIT)
def test_recordings_without_a_group_are_dealt_as_if_there_were_no_others(
    entries: list[Entry], split: SplitConfig
) -> None:
    alone = [entry for entry in entries if entry.group is None]
    among = [side for entry, side in zip(entries, deal(entries, split), strict=True) if entry.group is None]
    assert among == deal(alone, split)


@settings(max_examples=200)
@given(entries=ENTRIES, split=SPLIT)
def test_of_three_groups_with_the_same_roles_each_split_gets_one_of_two_train_and_test_and_one_trains(
    entries: list[Entry], split: SplitConfig
) -> None:
    unpinned = [dataclasses.replace(entry, use="split") for entry in entries]
    roles: dict[str, set[str]] = defaultdict(set)
    for entry in unpinned:
        if entry.group is not None:
            roles[entry.group].add(entry.role)
    sides = sides_of(unpinned, split)
    for alike in ({"clean"}, {"noise"}, {"clean", "noise"}):
        dealt = [next(iter(sides[group])) for group, has in roles.items() if has == alike]
        needed = ([], ["train"], ["test", "train"])[len(dealt)] if len(dealt) < 3 else sorted(SPLITS)
        assert sorted({side or "" for side in dealt}) == needed


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes recordings of white noise as FOLDER/PERSON/NAME, each with a seed of its own."""

    def make(folder: str, persons: tuple[str, ...], names: tuple[str, ...] = ("stop.npz", "60km.npz")) -> Path:
        root = tmp_path / folder
        for i, person in enumerate(persons):
            (root / person).mkdir(parents=True)
            for j, name in enumerate(names):
                samples = np.random.default_rng((i, j)).standard_normal((1, 6000)).astype(np.float32)
                path = root / person / name
                write_npz(Recording(samples, RATE_HZ, ("z",), path), path)
        return root

    return make


def config(root: Path, clean: str = "stop", noise: str = "60km", group: str | None = None) -> DataConfig:
    sources = [(Source((f"{root}/*/{name}.npz",), group=group),) for name in (clean, noise)]
    return DataConfig(sources[0], sources[1], rate_hz=RATE_HZ, window_samples=500)


def contents(corpus: Corpus) -> dict[tuple[str, str], list[bytes]]:
    return {
        (use, role): [segment.in_band.tobytes() for segment in getattr(corpus.splits[use], role)]
        for use in SPLITS
        for role in ("clean", "noise")
    }


def test_all_recordings_of_a_person_are_in_one_split_and_know_the_person(tree: Tree) -> None:
    corpus = load(config(tree("demo", ("s01", "s02", "s03", "s04")), group="s*"))
    persons = {}
    for use, split in corpus.splits.items():
        persons[use] = {segment.group for segment in split.clean}
        assert persons[use] == {segment.group for segment in split.noise}
        assert all(segment.source.parent.name == segment.group for segment in (*split.clean, *split.noise))
    assert sum(map(len, persons.values())) == len(set.union(*persons.values())) == 4
    assert [totals.groups for pair in corpus.summary.values() for totals in pair] == [2, 2, 1, 1, 1, 1]


def test_groups_do_not_change_the_fingerprint_and_renamed_folders_do_not_change_the_splits(tree: Tree) -> None:
    root = tree("demo", ("s01", "s02", "s03", "s04"))
    grouped = load(config(root, group="s*"))
    assert grouped.fingerprint == load(config(root)).fingerprint
    renamed = tree("renamed", ("s9", "s3", "s4", "s1"), ("rest.npz", "drive.npz"))
    other = load(config(renamed, "rest", "drive", group="s*"))
    assert contents(other) == contents(grouped)
    assert other.fingerprint == grouped.fingerprint


def test_too_few_groups_for_the_splits_are_refused_and_counted(tree: Tree) -> None:
    with pytest.raises(DataError, match=r"validation has no clean recording \(2 groups; a group is never divided\)"):
        load(config(tree("two", ("s01", "s02")), group="s*"))
    with pytest.raises(DataError, match=r"validation has no clean recording \(1 group; .*give more groups"):
        load(config(tree("one", ("s01",)), group="s*"))


def test_a_document_without_a_group_stays_as_it_was_and_one_with_a_group_is_read_again() -> None:
    assert "group" not in encode(Source(("a.wav",)))
    for group in ("s*", GroupTable("people.csv", "person", "name")):
        source = Source(("a.wav",), group=group)
        assert decode(Source, encode(source), "source") == source


def test_the_section_in_the_guide_is_a_config_with_a_group() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(\[data\]\n.*?)```", guide, flags=re.DOTALL)
    config = decode(DataConfig, tomllib.loads(block)["data"], "data.md")
    assert config.clean[0].group == "s*"


@pytest.mark.parametrize(
    ("path", "pattern", "group"),
    [
        ("data/demo/s01/stop.wav", "s*", "s01"),
        ("s02/s01/stop.wav", "s*", "s01"),
        ("s02/s 1/stop.wav", "s*", "s02"),
        ("data/subject07_run2.wav", "subject*", "subject07"),
        ("data/run2-subject07.wav", "subject*", "subject07"),
        ("data/run2.subject07 b.wav", "subject??", "subject07"),
        ("data/mysubject07_subject08.wav", "subject*", "subject08"),
        ("data/car_a_60km.wav", "car_?", "car_a"),
        ("data/golf_60km.wav", "*", "data"),
        ("golf_60km.wav", "*", "golf"),
        ("_golf.wav", "*", "golf"),
        ("a/p[1].wav", "p[?]", "p[1]"),
    ],
)
def test_a_group_is_the_deepest_folder_that_matches_else_a_part_of_the_name(
    path: str, pattern: str, group: str
) -> None:
    assert group_in(Path(path), pattern) == group


@pytest.mark.parametrize(("path", "pattern"), [("data/a/stop1.wav", "s?"), ("data/S01.wav", "s*"), ("d/as1.wav", "s*")])
def test_a_path_without_the_group_is_refused_with_the_pattern(path: str, pattern: str) -> None:
    with pytest.raises(DataError) as raised:
        group_in(Path(path), pattern)
    assert all(words in str(raised.value) for words in (path, repr(pattern), "correct the pattern"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/data/studies/rec/s01_rest.wav", "s01"),
        ("/data/studies/s02/rest.wav", "s02"),
        ("/data/studies/../s03/rest.wav", "s03"),
        ("/data/sorted/s04_rest.wav", "sorted"),
        ("/samples/s05_rest.wav", "samples"),
    ],
)
def test_a_folder_that_holds_the_start_names_no_group_whatever_the_working_directory(
    path: str, group: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start = Path("/data/studies")
    assert group_in(Path(path), "s*", start) == group
    monkeypatch.chdir(tmp_path)
    assert group_in(Path(path), "s*", start) == group
    assert group_in(Path(os.path.relpath(path, start)), "s*") == group


def test_a_table_has_spaces_after_commas_quoted_line_breaks_and_a_stated_separator(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    rows = ["file; person; note", *(f'{path}; "p{i}"; "one\ntwo"' for i, path in enumerate(PATHS))]
    expected = {path: f"p{i}" for i, path in enumerate(PATHS)}
    for text in ("\n".join(["sep=;", *rows]), "\r\n".join(rows).replace(";", ",")):
        table.write_bytes(text.encode())
        assert groups_of(PATHS, GroupTable(str(table), "person")) == expected


@pytest.mark.parametrize("group", ["", " ", "s*/a"])
def test_a_pattern_that_can_match_nothing_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="group is"):
        Source(("a.wav",), group=group)


PATHS = (Path("data/s1/stop.wav"), Path("data/s2/stop.wav"), Path("data/golf.wav"))


@pytest.mark.parametrize(
    "text",
    [
        "file,person\ns1/stop.wav,Ann\ndata/s2/stop.wav,Bo\ngolf.wav,Ann\n",
        "\ufeffperson;age;file\r\nAnn;3,5;s1\\stop.wav\r\nBo;;s2/stop.wav\r\n Ann ;7;./golf.wav\r\n;;\r\n",
        "file\tperson\ns1/stop.wav\tAnn\n\ns2/stop.wav\tBo\nother.wav\t\ngolf.wav\tAnn\n",
    ],
    ids=["commas", "a spreadsheet's", "tabs"],
)
def test_a_table_names_recordings_by_the_ends_of_their_paths(text: str, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_bytes(text.encode())
    found = groups_of(PATHS, GroupTable(str(table), "person"))
    assert found == dict(zip(PATHS, ("Ann", "Bo", "Ann"), strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,person\ns1/stop.wav,a\ns2/stop.wav,b\n", "no row names the recording data/golf.wav under 'file'"),
        ("file,person\ns1/stop.wav,a\ns2/stop.wav,b\nolf.wav,c\n", "no row names the recording data/golf.wav"),
        ("file,person\ns1/stop.wav,a\ngolf.wav,b\ns2/stop.wav,c\ndata/golf.wav,b\n", "rows 3, 5 name the recording"),
        ("file,person\nstop.wav,a\ngolf.wav,b\n", "row 2 (stop.wav) names data/s1/stop.wav and data/s2/stop.wav"),
        ("file,person\ns1/stop.wav,\ns2/stop.wav,b\ngolf.wav,b\n", "row 2 has no 'person' for data/s1/stop.wav"),
        ("file,persons\n", "no column 'person' (did you mean 'persons'?); it has file, persons"),
        ("path,person\n", "no column 'file'; it has path, person"),
        ("file,person,person\n", "two columns 'person'; it has"),
        ("", "no column 'file'; it has nothing"),
        ('file,person\n"a,b\n', "cannot be read as a table"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_table_that_does_not_give_each_recording_one_group_is_refused(
    text: str | None, words: str, tmp_path: Path
) -> None:
    table = tmp_path / "people.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(ValueError) as raised:
        groups_of(PATHS, GroupTable(str(table), "person"))
    assert str(raised.value).startswith(f"{table}: ")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
