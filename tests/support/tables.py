"""Write text tables for the tests of their reader, and say what is read of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.read import read
from data.recording import Recording

Floats = NDArray[np.float64]
N = 200
X = np.round(np.random.default_rng(7).uniform(-1, 1, (N, 3)), 4)  # three channels of noise
COUNTS = np.random.default_rng(8).integers(10000, 99999, N)


def lines(rows: Any, delimiter: str = ",", decimal: str = ".") -> str:
    """Rows of numbers as text, each as Python prints it."""
    return "".join(
        delimiter.join(cell if isinstance(cell, str) else str(cell).replace(".", decimal) for cell in row) + "\n"
        for row in (row.tolist() if isinstance(row, np.ndarray) else row for row in rows)
    )


def timed(times: Sequence[object], samples: Floats = X) -> list[list[object]]:
    """Rows of a time and the samples."""
    return [[time, *row] for time, row in zip(times, samples.tolist(), strict=True)]


def even(step: float, places: int = 6, start: float = 0.0) -> list[float]:
    return [round(start + i * step, places) for i in range(N)]


def save(folder: Path, text: str, name: str = "x.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def got(folder: Path, text: str, **options: Any) -> Recording:
    return read(save(folder, text), **options)


def refusal(folder: Path, text: str, **options: Any) -> str:
    """The one line that a table is refused with."""
    with pytest.raises(DataError) as raised:
        got(folder, text, **options)
    message = str(raised.value)
    assert "\n" not in message and "x.csv" in message
    assert "is it complete and really of that kind" not in message, "an error of a library, not ours"
    return message


def check(recording: Recording, expected: Floats, channels: tuple[str, ...], rate_hz: object) -> None:
    np.testing.assert_allclose(recording.signals, expected.T.astype(np.float32), rtol=1e-7, atol=0)
    assert (recording.channels, recording.rate_hz) == (channels, rate_hz)


def has_note(recording: Recording, *words: str) -> bool:
    return any(all(word in note for word in words) for note in recording.notes)
