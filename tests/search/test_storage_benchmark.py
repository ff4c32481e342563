"""The storage benchmark runs, and its counts are what they are said to be; no time is asserted."""

import re

import pytest

from benchmarks.storage.__main__ import main


def test_statements_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--database", "sqlite", "--only", "statements"])
    found = re.search(r"^\| random \| median \| (\d+) \| (\d+) \|$", capsys.readouterr().out, re.MULTILINE)
    assert found is not None
    assert int(found[2]) <= 30 < int(found[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_kind_of_storage_is_timed_in_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--database", "sqlite", "--only", "first", "--only", "cpu", "--only", "running"])
    said = capsys.readouterr().out
    assert "| finished | workers | stock | grpc | journal | ours |" in said
    assert len(re.findall(r"^\|( [\d,]+ \|){1,2}( [\d.]+ (?:ms|x) \|){4}$", said, re.MULTILINE)) == 4 + 2 + 2


def test_a_cell_that_there_was_no_time_for_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--database", "sqlite", "--only", "cpu", "--minutes", "0"])
    assert "| finished | workers |" in capsys.readouterr().out
