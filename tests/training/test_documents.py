"""Documents from somebody else: within limits of size, depth and aliases, in UTF-8 with a mark or without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.config import RunConfig, read_run, to_document
from training.decode import MAX_DEPTH, MAX_VALUES, decode, walk
from training.documents import MAX_BYTES, read_document, write_document
from training.errors import ConfigError

DEEP = 20_000


def alias_bomb(merge: bool = False) -> str:
    """Nine lists (or merged tables) of ten aliases of the one before: 10 ** 9 values in a few hundred bytes."""
    lines = ["a0: &a0 {x0: 1, x1: 2}" if merge else "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    for i in range(1, 10):
        aliases = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} {{<<: [{aliases}]}}" if merge else f"a{i}: &a{i} [{aliases}]")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", alias_bomb(), "more than 100,000 values with its aliases"),
        ("a.yaml", alias_bomb(merge=True), "more than 100,000 values with its aliases"),
        ("a.yaml", "a: &a [*a]\n", "'a' contains itself"),
        ("a.yaml", "a: &a {b: *a}\n", "'a' contains itself"),
        ("a.yaml", "a: " + "[" * DEEP + "]" * DEEP, "nested more than 50 levels deep"),
        ("a.yaml", "{a: " * DEEP + "}" * DEEP, "nested more than 50 levels deep"),
        ("a.yaml", "- " * DEEP + "1\n", "nested more than 50 levels deep"),
        ("a.json", "[" * DEEP + "]" * DEEP, "nested more than 50 levels deep"),
        ("a.json", '{"a":' * DEEP + "1" + "}" * DEEP, "nested more than 50 levels deep"),
        ("a.toml", "a = " + "[" * DEEP + "]" * DEEP, "nested more than 50 levels deep"),
        ("a.toml", "a = " + "{a = " * DEEP + "1" + "}" * DEEP, "nested more than 50 levels deep"),
        ("a.toml", "[" + ".".join("a" * 1000) + "]\nb = 1\n", "nested more than 50 levels deep"),
        ("a.json", "[" * 60 + "]" * 60, "nested more than 50 levels deep"),
        ("a.json", json.dumps([0] * (MAX_VALUES + 1)), "more than 100,000 values"),
        ("a.json", " " * (MAX_BYTES + 1), "larger than 4 MiB"),
        ("a.json", "1" * 5000, "a.json: Exceeds the limit"),
        ("a.toml", "a = 0x" + "f" * 5000, "a.toml.a: an integer of 20000 bits; at most 64"),
        ("a.toml", "a = 0\n" + "a." * 1_000_000 + "a = 1\n", "nested more than 50 levels deep"),
        ("a.toml", " 'a' . \"a\" ." * 30 + "a = 1\n", "nested more than 50 levels deep"),
        ("a.yaml", "a: 0x" + "f" * 900, "a.yaml.a: an integer of 3600 bits; at most 64"),
        ("a.yaml", "? 0x" + "f" * 900 + "\n: 1", "an integer of 3600 bits; at most 64"),
        ("a.yaml", "a: 1" + ":1" * 1_000_000, "a number of 2000001 characters; at most 1000"),
        ("a.yaml", "a: !!float 1" + ":1" * 1_000_000, "a number of 2000001 characters; at most 1000"),
        ("a.json", '{"name": "a\\u0000b"}', "a.json.name: a text with a NUL character or half a surrogate pair"),
        ("a.toml", 'name = "a\\u0000b"', "a.toml.name: a text with a NUL character"),
        ("a.json", '{"name": "a\\ud800b"}', "a.json.name: a text with a NUL character or half a surrogate pair"),
        ("a.yaml", 'name: "a\\ud800b"', "a.yaml.name: a text with a NUL character or half a surrogate pair"),
        ("a.json", '{"a\\ud800b": 1}', "a.json: a text with a NUL character or half a surrogate pair"),
        ("a.json", json.dumps({"k" * 5000: 1}), "a key of 5000 characters"),
        ("a.yaml", "a: !!bool maybe", "a.yaml: 'maybe'"),
        ("a.yaml", "a: !!int ''", "a.yaml: "),
        ("a.yaml", "a: !!timestamp soon", "a.yaml: "),
        ("a.yaml", "a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a.json", '{"a": 1, "b": 2, "b": 3}', "key 'b' stands twice"),
        ("a.yaml", "a: 1\na: 2\n", "key 'a' stands twice"),
        ("a.json", '{"a": 1, "a": 2}', "key 'a' stands twice"),
        ("a.toml", "a = 1\na = 2\n", "a.toml: Cannot overwrite a value"),
        ("a.yaml", "a: [1\n", "a.yaml: while parsing"),
        ("a.json", "{", "a.json: Expecting"),
        ("a.txt", "a", "unknown kind of document '.txt'; .toml, .yaml or .json"),
    ],
)
def test_a_broken_or_hostile_document_is_refused_in_one_line(name: str, text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as got:
        read_document(path)
    assert said in str(got.value)
    assert str(path) in str(got.value)
    assert "\n" not in str(got.value)


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  x: 3\n")
    assert read_document(path)["c"] == {"x": 3, "y": 2}


def test_missing_and_unreadable_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path / "a.yaml")


def test_a_document_that_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        read_document(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.toml"])
def test_a_document_with_a_byte_order_mark_is_read(name: str, tmp_path: Path) -> None:
    text = 'name = "é"\n' if name == "a.toml" else '{"name": "é"}\r\n'
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_document(tmp_path / name) == {"name": "é"}


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.toml"])
def test_a_document_in_another_encoding_is_refused_with_what_to_do(name: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("name = 'é'\n", encoding=encoding)
    with pytest.raises(ConfigError, match=r"cannot be read as UTF-8 \(byte 0x.. at \d+\); save it in that") as got:
        read_document(tmp_path / name)
    assert "\n" not in str(got.value)


def test_aliases_of_ordinary_use_are_read(tmp_path: Path) -> None:
    text = "".join(f"k{i}: *noise\n" for i in range(1000))
    (tmp_path / "a.yaml").write_text(f"noise: &noise {{snr: [1, 2, 3], band: {{low: 25}}}}\n{text}")
    assert read_document(tmp_path / "a.yaml")["k999"] == {"snr": [1, 2, 3], "band": {"low": 25}}


def test_what_is_written_is_within_the_limits(run: RunConfig, tmp_path: Path) -> None:
    """Shared values become aliases in YAML."""
    shared = {"x": [1, 2]}
    write_document({"a": shared, "b": [shared] * 100}, tmp_path / "a.yaml")
    assert "*id001" in (tmp_path / "a.yaml").read_text()
    assert read_document(tmp_path / "a.yaml")["b"][99] == shared
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(to_document(run)))
    assert read_run(tmp_path / "run.yaml") == run


def test_values_are_walked_in_their_order_with_their_names() -> None:
    names = [name for name, _ in walk({"a": [1, {"b": 2}], "c": 3}, "x")]
    assert names == ["x", "x.a", "x.a[0]", "x.a[1]", "x.a[1].b", "x.c"]


def nest(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"x": value}
    return value


def itself() -> Any:
    value: dict[str, Any] = {}
    value["epochs"] = [value]
    return value


@pytest.mark.parametrize("make", [lambda: nest(DEEP), lambda: nest(MAX_DEPTH + 1), itself])
def test_deep_values_of_a_database_are_refused_as_those_of_a_file(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match="stored run: nested more than 50 levels deep"):
        decode(RunConfig, make(), "stored run")


def test_a_long_integer_of_a_database_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stored run\.epochs: an integer of 16610 bits; at most 64"):
        decode(RunConfig, {"epochs": 10**5000}, "stored run")
