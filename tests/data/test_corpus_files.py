"""The files of a corpus: what no glob matches, and real recordings."""

from pathlib import Path

import pytest

from data.config import DataConfig, EcgRule, Source
from data.corpus import find, load
from data.errors import DataError
from data.splits import SPLITS


def test_a_glob_without_match_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no recording matches '.*nothing_\*.npz'"):
        find(Source((str(tmp_path / "nothing_*.npz"),)))


def test_real_recordings_load(realdata: Path) -> None:
    """ECG in a file of its own gives R peaks; three axes of a bus become channels."""
    heart = realdata / "heart_ecg" / "radar2pcg"
    data = DataConfig(
        clean=(Source((str(heart / "0[0-2]_PCG.wav"),), ecg=EcgRule("_PCG", "_ECG")),),
        noise=(Source((str(realdata / "vehicle" / "*.npz"),), channels=("z", "x", "y")),),
        rate_hz=250.0,
        window_samples=1280,
    )
    corpus = load(data)
    assert corpus.n_channels == 3
    for use in SPLITS:
        for segment in corpus.splits[use].clean:
            assert segment.r_peaks_s is not None
            assert 10 <= len(segment.r_peaks_s) <= 40
