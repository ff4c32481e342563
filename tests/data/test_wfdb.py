"""WFDB records beyond the common contract."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import DataError
from data.readers.read import read


@pytest.fixture
def wfdb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb
    return wfdb


@pytest.fixture
def record(tmp_path: Path, wfdb: Any) -> Path:
    noise = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp("r1", 500, ["mV", "g"], ["ECG", "z"], noise, fmt=["16", "16"], write_dir=str(tmp_path))
    return tmp_path / "r1.hea"


def test_header_and_signal_file_name_the_same_record(record: Path) -> None:
    one, other = read(record), read(record.with_suffix(".dat"))
    np.testing.assert_array_equal(one.signals, other.signals)
    assert one.channels == ("z",)
    assert one.rate_hz == 500.0


def test_annotated_beats_become_r_peaks_and_other_notes_do_not(record: Path, wfdb: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples, symbols = np.array([100, 300, 500, 900]), ["N", "+", "V", "N"]
        wfdb.wrann("r1", "atr", samples, symbols, aux_note=["", "(N", "", ""], write_dir=str(record.parent))
    r_peaks_s = read(record).r_peaks_s
    assert r_peaks_s is not None
    np.testing.assert_allclose(r_peaks_s, [0.2, 1.0, 1.8])


@pytest.mark.parametrize("gone", [".hea", ".dat"])
def test_a_missing_half_is_named(record: Path, gone: str) -> None:
    record.with_suffix(gone).unlink()
    kept = record.with_suffix(".dat" if gone == ".hea" else ".hea")
    with pytest.raises(DataError, match=f"r1{gone} is not beside it"):
        read(kept)


def test_a_header_of_nonsense_is_refused(record: Path) -> None:
    record.write_text("once upon a time\n")
    with pytest.raises(DataError, match="WFDB header"):
        read(record)
