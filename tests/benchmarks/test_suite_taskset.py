"""TaskSet and folders in its format: files are read as they are meant, or refused; the command compares them."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.__main__ import main
from benchmarks.search.suites.methods import OURS, ROWS, suite_methods
from benchmarks.search.suites.pool import is_in
from benchmarks.search.suites.taskset import in_cube, read_task, read_taskset
from tests.support.pools import CONFIGURATIONS, configuration, write

SUITES = Path(__file__).parents[3] / "shared" / "hpo_suites"
real_taskset = pytest.mark.skipif(not (SUITES / "taskset").is_dir(), reason="the files of TaskSet are not here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    for i, name in enumerate(("b.json", "a.json.gz", "c.json.gz")):
        more = [configuration(1e-5 * k, [0.65 - 0.01 * k * i, 0.6, 0.6 - 0.02 * k]) for k in range(1, 9)]
        write(tmp_path / "own" / name, CONFIGURATIONS + more)
    return tmp_path / "own"


def test_a_task_is_read_as_scores_after_training_without_what_follows_a_failure(tmp_path: Path) -> None:
    """The first loss is left out, lower losses are higher scores, null and an early end are failures, 1e30 is none."""
    pool = read_task(write(tmp_path / "one.json.gz", CONFIGURATIONS))
    nan = math.nan
    assert pool.name == "one" and pool.axes == ("decay", "rate")
    expected = [[-0.6, -0.5, -0.4], [-0.5, nan, nan], [-0.4, -1e30, -0.3], [-0.65, nan, nan]]
    np.testing.assert_array_equal(pool.scores, expected)
    np.testing.assert_array_equal(pool.values, [-0.4, -0.5, -0.3, -0.65])


def test_tasks_are_numbered_by_name_and_dealt_to_two_halves(folder: Path) -> None:
    assert [(pool.name, pool.number) for pool in read_taskset(folder)] == [("a", 1), ("b", 2), ("c", 3)]
    assert [pool.name for pool in read_taskset(folder, "choosing")] == ["a", "c"]
    assert [pool.name for pool in read_taskset(folder, "judging")] == ["b"]
    for number in range(1, 40):
        assert is_in(number, "choosing") + is_in(number, "judging") == 1 == is_in(number, "all")


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=30, unique=True))
def test_places_in_the_cube_follow_the_order_whatever_the_scale(values: list[float]) -> None:
    """They are the middles of n equal parts, and the same for the logarithms."""
    column = np.array(values)[:, None]
    places = in_cube(column)
    np.testing.assert_allclose(np.sort(places[:, 0]), (np.arange(len(values)) + 0.5) / len(values))
    np.testing.assert_array_equal(np.argsort(places[:, 0]), np.argsort(values))
    if len(np.unique(np.log(column))) == len(values):
        np.testing.assert_allclose(in_cube(np.log(column)), places)


BAD = {
    "no JSON": ("{", "bad.json is no JSON file"),
    "no list": ({"hp": {}}, "bad.json is no list of two or more configurations"),
    "one": (CONFIGURATIONS[:1], "is no list of two or more configurations"),
    "no hp": ([*CONFIGURATIONS, {"valid": {"loss": [1, 2]}}], "configuration 4 needs hp"),
    "no loss": ([*CONFIGURATIONS, {"hp": {"rate": 1, "decay": 1}, "valid": {}}], "configuration 4 needs hp"),
    "a word": (
        [*CONFIGURATIONS, {"hp": {"rate": "fast", "decay": 1}, "valid": {"loss": [1, 2]}}],
        "hp.rate of configuration 4 is 'fast'; a finite number is needed",
    ),
    "another axis": (
        [*CONFIGURATIONS, {"hp": {"rate": 1}, "valid": {"loss": [1, 2]}}],
        "configuration 4 has other hyperparameters than the first: decay, rate",
    ),
    "no epoch": ([{"hp": {"x": i}, "valid": {"loss": [1.0]}} for i in range(3)], "no value after the first"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_of_another_format_is_refused_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, reason = BAD[name]
    path = tmp_path / "bad.json"
    path.write_text(document) if isinstance(document, str) else write(path, document)
    with pytest.raises(SystemExit) as left:
        main(["--suite", "taskset", "--data", str(tmp_path)])
    said = capsys.readouterr()
    assert left.value.code == 2 and said.out == ""
    assert reason in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--suite", "taskset"], "--suite taskset needs --data"),
        (["--suite", "taskset", "--data", "nowhere"], "nowhere has no *.json.gz of TaskSet; give --data"),
        (["--suite", "lcbench", "--data", "nowhere"], "nowhere has no model.onnx of LCBench; give --data"),
        (["--suite", "taskset", "--data", "nowhere", "--methods", "guessing"], "no method 'guessing'; known: random"),
        (["--suite", "taskset", "--data", "nowhere", "--quick"], "takes no tables and no --quick"),
        (["--suite", "taskset", "--data", "x", "--seeds", "0"], "--seeds"),
        (["--suite", "taskset", "--data", "x", "--workers", "1,0"], "--workers"),
        (["--suite", "taskset", "--data", "x", "--epochs", "many"], "--epochs"),
        (["--suite", "mine"], "invalid choice: 'mine'"),
    ],
)
def test_words_that_do_not_fit_are_refused(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr()
    assert left.value.code == 2 and reason in said.err and "Traceback" not in said.err


def test_a_users_own_folder_is_compared_and_replays_are_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget that the kept replays reach does not repeat them, a larger one does."""
    words = [
        "--suite",
        "taskset",
        "--data",
        str(folder),
        "--workers",
        "1,2",
        "--seeds",
        "2",
        "-o",
        str(tmp_path / "out"),
    ]
    words += ["--methods", f"random, unpruned;ASHA with promotion, random;{OURS}", "--half", "choosing"]
    assert main([*words, "--epochs", "12", "--png", str(tmp_path / "curves.png")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("## taskset, choosing: 2 tasks of 3 epochs\n")
    assert said.count("| method | 3 epochs (1x) | 9 epochs (3x) | 12 epochs (4x) | 30 epochs (10x) |") == 4
    assert len(re.findall(r"^\| (a|c) \|( [01]\.\d{3} \|){3}$", said, re.M)) == 4
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    replays = tmp_path / "out" / "taskset.jsonl"
    assert len(replays.read_text().splitlines()) == 2 * 3 * 2 * 2
    assert main([*words, "--epochs", "12"]) == 0
    assert capsys.readouterr().out == said
    assert len(replays.read_text().splitlines()) == 24
    assert main([*words, "--epochs", "33"]) == 0
    assert len(replays.read_text().splitlines()) == 48


def test_the_rows_are_known_methods() -> None:
    assert set(ROWS) <= set(suite_methods())


@real_taskset
def test_the_tasks_of_taskset_are_as_their_note_says() -> None:
    """Six of 1,000 configurations, 8 hyperparameters and 50 epochs after training began; some diverge."""
    pools = read_taskset(SUITES)
    assert [(pool.number, pool.n_points, pool.n_epochs, len(pool.axes)) for pool in pools] == [
        (number, 1000, 50, 8) for number in range(1, 7)
    ]
    assert sum(np.isnan(pool.scores[:, -1]).any() for pool in pools) >= 4
    for pool in pools:
        best, middle = pool.scale
        assert -0.6 < best < 0 and middle < best - 0.1
