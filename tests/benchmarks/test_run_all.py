"""The page of all benchmarks: whatever becomes of one, the page is written and says so."""

import importlib.util
import socket
from pathlib import Path

import pytest

from benchmarks.run_all import BENCHMARKS, END_S, ROOT, Benchmark, Result, html_page, main, page, perform
from tests.support.waiting import wait_for


def own(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str, minutes: float = 0.5) -> Result:
    """What comes of a benchmark that is `program`, in a package `benchmarks` of its own."""
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "mine.py").write_text(program)
    monkeypatch.setattr("benchmarks.run_all.ROOT", folder)
    return perform(Benchmark("mine", "Mine", "mine", "--times 2 -o {out}", minutes))


def test_the_quickest_one_runs_and_its_table_is_on_the_page(tmp_path: Path) -> None:
    assert main(["--only", "data_path", "--quick", "-o", str(tmp_path)]) == 0
    text = (tmp_path / "run_all.md").read_text()
    assert "`python -m benchmarks.data_path --quick --threads 1`" in text
    assert "ours, one surrogate per epoch" in text
    assert f"torch {__import__('torch').__version__}" in text
    assert str(ROOT) not in text and str(tmp_path) not in text
    assert "ours, one surrogate per epoch" in (tmp_path / "run_all.html").read_text()


def test_one_that_fails_is_a_line_and_the_page_goes_on(tmp_path: Path) -> None:
    broken = Benchmark("broken", "Broken", "no_such_benchmark", "", 1)
    missing = Benchmark("missing", "Missing", "data_path", "", 1, needs="no/such/recordings")
    assert main(["-o", str(tmp_path)], (broken, missing)) == 0
    text = (tmp_path / "run_all.md").read_text()
    assert "No module named benchmarks.no_such_benchmark" in text
    assert "not run: there is no no/such/recordings beside the checkout" in text
    assert "Traceback" not in text


def test_one_that_is_late_is_stopped_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""
    result = own(tmp_path, monkeypatch, program, minutes=0.03)
    assert result.failed == "not done within 0.03 minutes"
    child = int(result.text.split()[1])
    stat = Path(f"/proc/{child}/stat")
    # a killed process is gone a moment later, or waits for somebody to ask how it ended
    wait_for(lambda: not stat.exists() or stat.read_text().split()[2] == "Z", 5.0, 0.01, f"the end of {child}")


def test_the_page_names_no_host_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"import sys; print({socket.gethostname()!r}, sys.argv[-1], {str(tmp_path)!r}, '\\033[1mbold\\033[0m')"
    result = own(tmp_path, monkeypatch, program)
    assert result.failed == ""
    assert result.text.split() == ["HOST", "FOLDER/results", ".", "bold"]
    assert result.command == "python -m benchmarks.mine --times 2 -o FOLDER"


def test_tables_stay_tables_and_other_text_is_set_as_it_stands() -> None:
    one = Benchmark("one", "One", "one", "", 1)
    text = page([Result(one, "c", 1.0, "| a |\n|---|\n| 1 |\n"), Result(one, "c", 1.0, "a  1\n")])
    assert "\n| a |\n|---|\n| 1 |\n" in text
    assert "```text\na  1\n```" in text
    assert "&lt;b&gt;" in html_page("<b>")


def test_the_minutes_of_all_come_to_less_than_a_quarter_of_an_hour() -> None:
    assert sum(60 * benchmark.minutes + END_S / 4 for benchmark in BENCHMARKS) <= 15 * 60
    assert len({benchmark.name for benchmark in BENCHMARKS}) == len(BENCHMARKS)
    for benchmark in BENCHMARKS:
        assert importlib.util.find_spec(f"benchmarks.{benchmark.module}") is not None
