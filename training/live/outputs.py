"""The files of a live estimate: NAME.csv or NAME.wav, NAME.beats.csv and NAME.heart_rate.csv.

Tables grow by whole lines, so that they can be read at any time and after any end. A .wav is written beside its place
and takes it at the end, because its head says how long it is.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import soundfile

from data.errors import FileError
from data.files import file_errors, make_folder
from data.recording import Signal
from training.denoising.recordings import BEATS, HEART_RATE
from training.errors import ConfigError
from training.live.heart import Second
from training.numbers import decimal

FORMATS = (".csv", ".wav")


def files_of(output: Path) -> tuple[Path, Path, Path]:
    """Return the files of the estimate, the beats and the heart rate."""
    return output, output.with_suffix(BEATS), output.with_suffix(HEART_RATE)


def check_outputs(output: Path, source: Path | int | None, rate_hz: float | None = None) -> None:
    """Check that a live estimate can be written to `output`.

    source: the file that samples come from, or the number of its open file; None without.

    Raises ConfigError for an unknown suffix, a file that samples come from, or a rate that a .wav cannot hold.
    """
    if output.suffix not in FORMATS:
        raise ConfigError(
            f"{output}: a live estimate is written as {' or '.join(FORMATS)}, not {output.suffix or 'without ending'!r}"
        )
    if source is not None and any(_is_same(path, source) for path in files_of(output)):
        name = "standard input" if isinstance(source, int) else source
        raise ConfigError(f"{output}: its files include the source, {name}, which is never written; name another file")
    if output.suffix == ".wav" and rate_hz is not None and rate_hz != round(rate_hz):
        raise ConfigError(f"{output}: a .wav holds whole rates, the signal has {rate_hz:g} Hz; write .csv")


@contextmanager
def sound_errors(path: Path) -> Iterator[None]:
    """Raise FileError where `path`, a sound, cannot be written."""
    try:
        with file_errors(path):
            yield
    except soundfile.LibsndfileError as error:
        raise FileError(f"{path}: cannot be written ({error}); free some space, or name another file") from error


def _is_same(path: Path, source: Path | int) -> bool:
    """Return whether a path is the file of a source, by another name too."""
    try:
        of_source = os.fstat(source) if isinstance(source, int) else source.stat()
        return os.path.samestat(path.stat(), of_source)
    except OSError:  # one of them is not there
        return False


class Outputs:
    """The open files of a live estimate; a context. Raises FileError when a file cannot be written."""

    def __init__(self, output: Path, rate_hz: float) -> None:
        """Open the files for an estimate at `rate_hz`. Raises ConfigError as check_outputs does."""
        check_outputs(output, None, rate_hz)
        make_folder(output.parent)
        self._rate_hz, self._n = rate_hz, 0
        self._paths = files_of(output)
        self._part = output.with_name(f".{output.name}.part") if output.suffix == ".wav" else None
        with ExitStack() as stack:
            heads = ("time_s,estimate\r\n", "time_s,probability\r\n", "time_s,heart_rate_bpm,probability\r\n")
            self._tables: list[IO[str] | None] = []
            for path, head in zip(self._paths, heads, strict=True):
                if path is output and self._part is not None:
                    self._tables.append(None)
                    continue
                with file_errors(path):
                    table = stack.enter_context(path.open("w", newline="", encoding="utf-8"))
                    table.write(head)
                    table.flush()
                self._tables.append(table)
            self._sound: Any = None
            if self._part is not None:
                with sound_errors(output):
                    self._sound = stack.enter_context(
                        soundfile.SoundFile(self._part, "w", round(rate_hz), 1, "FLOAT", format="WAV")
                    )
            self._is_whole = True
            self._stack = stack.pop_all()

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(self, *_: object) -> None:
        with sound_errors(self._paths[0]):
            try:
                self._stack.close()
            finally:
                if self._part is not None and not self._is_whole:
                    self._part.unlink(missing_ok=True)
            if self._part is not None and self._part.exists():
                self._part.replace(self._paths[0])

    def add(self, estimate: Signal) -> None:
        """Write the next samples of the estimate."""
        if self._sound is not None:
            try:
                with sound_errors(self._paths[0]):
                    self._sound.write(estimate)
            except FileError:
                self._is_whole = False  # an earlier file stays
                raise
        else:
            times_s = ((self._n + i) / self._rate_hz for i in range(len(estimate)))
            lines = (f"{t:.9f},{x:.8e}\r\n" for t, x in zip(times_s, estimate.tolist(), strict=True))
            self._write(0, "".join(lines))
        self._n += len(estimate)

    def tell(self, second: Second) -> None:
        """Write a second's beats and heart rate."""
        self._write(1, "".join(f"{beat.time_s:.3f},{beat.probability:.3f}\r\n" for beat in second.beats))
        self._write(2, f"{second.time_s:.3f},{decimal(second.heart_rate_bpm, 1)},{second.probability:.3f}\r\n")

    def _write(self, i: int, text: str) -> None:
        table = self._tables[i]
        assert table is not None
        with file_errors(self._paths[i]):
            table.write(text)
            table.flush()
