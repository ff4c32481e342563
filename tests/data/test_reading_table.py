"""Files of strangers: what is read of each kind, compared with an independent library, and the table of it in the docs.

docs/measurements/reading.md holds the table. DRIVEBEAT_WRITE_TABLE=1 writes it again.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from data.conditioning import condition
from data.config import DataConfig, Source
from data.errors import DataError
from data.readers.read import read
from data.recording import Recording
from tests.support.stranger_cases import CASES
from tests.support.strangers import Case

TABLE = Path(__file__).parents[2] / "docs" / "measurements" / "reading.md"


def outcome(case: Case, folder: Path) -> tuple[Recording | None, str]:
    """Read the case's file; return the recording, or the error's text without the path."""
    path = case.make(folder)
    try:
        recording = read(path, **case.options)
        if case.used:
            condition(recording, DataConfig((Source(("c",)),), (Source(("n",)),)))
        return recording, ""
    except DataError as error:
        return None, str(error).replace(f"{path}: ", "").replace(str(folder), "")


def label(index: int) -> str:
    return re.sub(r"[^\w.=]+", "_", f"{index}_{CASES[index].kind}_{CASES[index].shown}").strip("_")


@pytest.mark.parametrize("index", range(len(CASES)), ids=label)
def test_what_is_read_is_what_another_library_reads_or_the_file_is_refused_by_name(index: int, tmp_path: Path) -> None:
    case = CASES[index]
    recording, problem = outcome(case, tmp_path)
    if case.truth is None:
        assert recording is None, recording
        assert case.refused in problem and "\n" not in problem
        return
    assert recording is not None, problem
    rate_hz, channels = case.truth(case.make(tmp_path))
    assert (recording.rate_hz, recording.channels) == (rate_hz, tuple(channels))
    for name, row in zip(recording.channels, recording.signals, strict=True):
        np.testing.assert_allclose(row, channels[name], rtol=0, atol=case.step, err_msg=name)
    assert recording.ecg_rate_hz == case.ecg_hz
    if case.bpm is not None:
        assert recording.r_peaks_s is not None
        assert 60 / np.median(np.diff(recording.r_peaks_s)) == pytest.approx(case.bpm)


def row_of(case: Case, folder: Path) -> str:
    recording, problem = outcome(case, folder)
    if recording is None:
        found = f"refused: {problem}"
    else:
        n_channels, n_samples = recording.signals.shape
        named = ", ".join(recording.channels)
        found = f"{n_channels} x {n_samples} samples ({named}) at {recording.rate_hz:g} Hz"
        if recording.ecg is not None:
            found += f", ECG at {recording.ecg_rate_hz:g} Hz"
        if recording.r_peaks_s is not None:
            found += f", {recording.r_peaks_s.size} beats"
        found += "".join(f"; note: {note}" for note in recording.notes)
    cells = (case.kind, case.shown, found, case.library or "-")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def test_the_table_in_the_docs_is_what_is_read_today(tmp_path: Path) -> None:
    lines = []
    for i, case in enumerate(CASES):
        folder = tmp_path / str(i)
        folder.mkdir()
        lines.append(row_of(case, folder))
    head = TABLE.read_text(encoding="utf-8").split("| kind |")[0] if TABLE.exists() else ""
    table = head + "| kind | input | read as | compared with |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"
    if os.environ.get("DRIVEBEAT_WRITE_TABLE"):
        TABLE.write_text(table, encoding="utf-8")
    assert TABLE.read_text(encoding="utf-8") == table, "run this test with DRIVEBEAT_WRITE_TABLE=1"
