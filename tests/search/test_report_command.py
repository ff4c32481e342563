"""drivebeat report as a user runs it: one file, and never a password."""

from pathlib import Path
from typing import Any


def test_the_command_writes_one_file_and_never_a_password(drivebeat: Any, study_file: Any, tmp_path: Path) -> None:
    drivebeat("create", str(study_file()))
    said = drivebeat("report", "tiny", "-o", "out/report.html")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("out/report.html: 1 study, ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    assert "no study 'gone'" in drivebeat("report", "gone").err
    refused = drivebeat("report", "tiny", "-o", "report.pdf")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
