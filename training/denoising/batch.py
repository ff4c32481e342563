"""Denoise many recordings with one model: a recording that fails does not end the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data.errors import UserError
from data.recording import Recording
from training.apply import window_of
from training.bars import bar
from training.denoising.adapt import check_steps
from training.denoising.denoise import Denoiser
from training.denoising.process import Applied, process
from training.denoising.recordings import Job


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A recording that was not denoised, and the error that says why."""

    recording: Path
    error: UserError

    @property
    def reason(self) -> str:
        """Return the error in one line that names the recording."""
        line = " ".join(str(self.error).split())
        return line if str(self.recording) in line else f"{self.recording}: {line}"


def denoise_each(
    denoiser: Denoiser,
    jobs: Sequence[Job],
    read: Callable[[Path], Recording],
    window_s: float | None,
    adapt_steps: int,
    console: Console,
    on_read: Callable[[Recording], None],
) -> Iterator[Applied | Failure]:
    """Read and denoise the recordings of `jobs`, write their files, and yield each result as soon as it is there.

    window_s: length of a window in seconds, see training.apply.apply.
    adapt_steps: of training on each recording, see training.denoising.adapt; 0 for none.
    console: shows the progress if it is a terminal.
    on_read: called with each recording before it is denoised.

    Raises ConfigError for a window or a number of steps that cannot be used. Any UserError about one recording is
    yielded as its failure.
    """
    window_of(denoiser.run.data, window_s)
    check_steps(adapt_steps)
    with bar(console, "cleaning", 100) as advance:
        for i, job in enumerate(jobs):
            of_all = f"{i + 1} of {len(jobs)}, {job.recording.name}" if len(jobs) > 1 else "cleaning"

            def progress(done: int, total: int, unit: str, i: int = i, of_all: str = of_all) -> None:
                advance((100 * i + 100 * done // total) // len(jobs), f"{of_all}: {done} of {total} {unit}")

            try:
                recording = read(job.recording)
                on_read(recording)
                result: Applied | Failure = process(denoiser, job, recording, window_s, adapt_steps, progress)
            except UserError as error:
                result = Failure(job.recording, error)
            yield result
