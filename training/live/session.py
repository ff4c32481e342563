"""A live session: samples in, the estimate and a report each second out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.recording import Recording
from models.parts.streaming import CausalDenoiser
from training.channels import check_channels, choose, names_of
from training.delay import delay_of
from training.denoising.denoise import Denoiser, read_recording
from training.device import arithmetic, resolve_device
from training.errors import ConfigError, TrainingFailed
from training.live.heart import Monitor, Second
from training.live.intake import Floats, Intake
from training.live.outputs import Outputs
from training.live.path import CausalPath, path_of
from training.live.rows import FloatRows, Notes, Rows, TableRows

EVERY_S = 1.0


def check_causal(denoiser: Denoiser, folder: Path) -> CausalDenoiser:
    """Return the model of a causal run. Raises ConfigError for another."""
    if not isinstance(denoiser.model, CausalDenoiser):
        raise ConfigError(
            f"{folder}: {denoiser.run.model.name} is not causal, so it needs whole windows; train a run with "
            "live.causal (search/studies/live.yaml), or use drivebeat apply"
        )
    return denoiser.model


def channels_of(denoiser: Denoiser, given: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the channels that arrive: those given, else those of the run. Raises ConfigError."""
    n_channels = denoiser.run.data.n_channels
    if given and len(given) != n_channels:
        raise ConfigError(f"--channels names {len(given)} channels; the model needs {n_channels}")
    named = names_of(denoiser.run.data)
    return tuple(given) or (named[0] if named else tuple(f"ch{i + 1}" for i in range(n_channels)))


def channels_with_missing(denoiser: Denoiser, recording: Recording) -> tuple[str, ...]:
    """Return the names of a recording's channels, and of the references that it lacks, which are silent.

    Raises ConfigError as training.channels.check_channels does.
    """
    check_channels(denoiser.run.data, recording)
    n_missing = denoiser.run.data.n_channels - len(recording.channels)
    return (*recording.channels, *(f"missing reference {i + 1}" for i in range(n_missing)))


def reader_of(denoiser: Denoiser, form: str, names: tuple[str, ...], notes: Notes) -> TableRows | FloatRows:
    """Return the reader of a format: "csv" or "f32". names: of the channels."""
    if form == "f32":
        return FloatRows(len(names))

    is_given = names != channels_of(denoiser, ())

    def chosen(heading: Sequence[str]) -> tuple[int | None, ...]:
        folded = [cell.casefold() for cell in heading]
        found = tuple(folded.index(name.casefold()) if name.casefold() in folded else None for name in names)
        if found[0] is None and is_given:
            raise ConfigError(
                f"the samples that arrive: have the channels {', '.join(heading)}; --channels names {names[0]} as the "
                "channel to clean; name one of them"
            )
        if found[0] is None:
            try:
                by_run = choose(denoiser.run.data, Path("--source"), heading)
            except ConfigError as error:
                raise ConfigError(f"the samples that arrive: {str(error).partition(': ')[2]}") from error
            if n_missing := len(names) - len(by_run):
                notes.say(f"{n_missing} of {len(names) - 1} references are not in the heading; taken as silent")
            return (*(list(heading).index(name) for name in by_run), *[None] * n_missing)
        for name, column in zip(names, found, strict=True):
            if column is None:
                notes.say(f"channel {name} is not in the heading; it is taken as silent")
        return found

    return TableRows(len(names), chosen, notes)


class Session:
    """The state of a live estimate. Its memory does not grow with the signal."""

    def __init__(self, denoiser: Denoiser, intake: Intake, output: Path | None, every_s: float = EVERY_S) -> None:
        """Prepare. output: see training.live.outputs; None writes no files. every_s: between reports, of signal."""
        self._denoiser, self._intake, self._output, self._every_s = denoiser, intake, output, every_s
        self._device = resolve_device(denoiser.device_name)
        self._path: CausalPath | None = None
        self._stack = ExitStack()
        self._n_reports = 0
        self._last: Floats = np.zeros((len(intake.names), 1))

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def feed(self, rows: Rows) -> Iterator[Second]:
        """Take rows as they came, and yield a report for each second of signal. Raises ConfigError, FileError."""
        for samples in self._intake.feed(rows):
            yield from self._take(samples)

    def end(self, last: Rows | None = None) -> Iterator[Second]:
        """End the signal: the rest of the estimate is that of a signal that stays as it is. Yield the last reports."""
        if last is not None:
            yield from self.feed(last)
        for samples in self._intake.end():
            yield from self._take(samples)
        if self._path is None:
            return
        n_samples = self._intake.n_samples
        self._estimate(np.repeat(self._last, self._path.n_late, axis=1), n_samples)
        yield self._report(at_end=True)

    def _take(self, samples: Floats) -> Iterator[Second]:
        rate_hz = self._intake.rate_hz
        assert rate_hz is not None
        if self._path is None:
            self._start(rate_hz)
        done = self._intake.n_samples - samples.shape[1]
        while samples.shape[1]:
            due = round((self._n_reports + 1) * self._every_s * rate_hz)
            n = max(0, min(samples.shape[1], due - done))
            if n:
                self._estimate(samples[:, :n])
                self._last = samples[:, n - 1 : n].copy()
                samples, done = samples[:, n:], done + n
            if done >= due:
                self._n_reports += 1
                yield self._report(done)

    def _start(self, rate_hz: float) -> None:
        run, model = self._denoiser.run, self._denoiser.model
        assert isinstance(model, CausalDenoiser)
        if rate_hz < 2 * (run.data.band_hz or (0.0, 0.0))[1]:
            assert run.data.band_hz is not None
            raise ConfigError(
                f"samples come at {rate_hz:g} Hz; the band up to {run.data.band_hz[1]:g} Hz needs at least "
                f"{2 * run.data.band_hz[1]:g} Hz"
            )
        self._path = path_of(model, run.data, len(self._intake.names), rate_hz, self._device)
        self._state, self._n_out = self._path.initial(), 0
        self._monitor = Monitor(rate_hz, self._denoiser.calibration)
        self._files = None if self._output is None else self._stack.enter_context(Outputs(self._output, rate_hz))
        self._intake.notes.say(f"{rate_hz:g} Hz; {delay_of(model, run.data, rate_hz).described}")

    def _estimate(self, samples: Floats, n_most: int | None = None) -> None:
        """Run samples through the model. n_most: of the whole estimate."""
        assert self._path is not None
        run = self._denoiser.run
        with arithmetic(run.fit.seed, self._device, run.fit.threads):
            found, self._state = self._path.step(samples, self._state)
        found = found if n_most is None else found[: max(0, n_most - self._n_out)]
        if not np.isfinite(found).all():
            raise TrainingFailed("the model's estimate is not finite; evaluate the run, and train it again")
        self._n_out += len(found)
        self._monitor.add(found)
        if self._files is not None:
            self._files.add(found)

    def _report(self, n_samples: int | None = None, at_end: bool = False) -> Second:
        assert self._intake.rate_hz is not None
        n = self._intake.n_samples if n_samples is None else n_samples
        found = self._monitor.second(n / self._intake.rate_hz, not self._intake.is_gone, at_end)
        found = replace(found, notes=self._intake.notes.taken())
        if self._files is not None:
            self._files.tell(found)
        return found


def of_recording(recording: Recording, n_channels: int, chunk_s: float = EVERY_S) -> Iterator[Rows]:
    """Yield the samples of a recording in chunks, with silent channels up to `n_channels`."""
    missing = n_channels - len(recording.channels)
    n = max(1, round(chunk_s * recording.rate_hz))
    for start in range(0, recording.signals.shape[1], n):
        values = recording.signals[:, start : start + n].astype(np.float64)
        yield Rows(None, np.pad(values, ((0, missing), (0, 0))))


def of_bytes(
    contents: Iterable[bytes | None], reader: TableRows | FloatRows, stopped: Callable[[], bool]
) -> Iterator[Rows]:
    """Yield the rows in what arrives, and empty ones while nothing does."""
    for content in contents:
        yield reader.feed(content or b"")
        if stopped():
            return
    yield reader.end()


def recording_of(denoiser: Denoiser, path: Path, channels: tuple[str, ...], rate_hz: float | None) -> Recording:
    """Read the recording at `path` for a model. Raises DataError, ConfigError."""
    return read_recording(denoiser.run.data, path, channels=channels, rate_hz=rate_hz)
