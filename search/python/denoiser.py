"""A trained model that denoises arrays, recordings and files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.contents import as_signal, pick_channels
from data.recording import Recording
from search.errors import ConfigError
from search.python.recordings import Names, names
from training.channels import choose, described, names_of, with_note_of_missing
from training.config import RunConfig
from training.denoising.adapt import adapted
from training.denoising.beats import Beats, beats_of
from training.denoising.denoise import Denoiser as Loaded
from training.denoising.denoise import denoise, denoise_and_hear, denoiser_of, read_recording
from training.pretrained import run_folder
from training.runs import read_folder

Samples = NDArray[Any] | Sequence[float] | Sequence[Sequence[float]]
ARRAY = Path("array")  # stands for the file in errors about an array
RATE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Denoiser:
    """A trained model. Make one with `drivebeat.load` or `drivebeat.train`.

    It holds nothing but its weights: equal input gives equal output, in any order. One thread at a time may use it,
    for torch's settings are those of the whole process.

    folder: of its run. config: its RunConfig, as run.yaml has it.
    """

    folder: Path
    config: RunConfig
    _loaded: Loaded

    @property
    def device(self) -> str:
        """The device on which it runs: "cpu", "cuda:0" ..."""
        return self._loaded.device_name

    @property
    def threads(self) -> int | None:
        """The number of CPU threads; None leaves it as it is."""
        return self._loaded.run.fit.threads

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels that it takes: the one it cleans, then the references."""
        listed = names_of(self.config.data)
        return listed[0] if listed else tuple(f"ch{i + 1}" for i in range(self.config.data.n_channels))

    @property
    def rate_hz(self) -> float:
        """The rate at which it works; input of any rate is resampled to it and back."""
        return self.config.data.rate_hz

    @property
    def band_hz(self) -> tuple[float, float] | None:
        """The band to which its input is filtered; None: it takes the whole signal."""
        return self.config.data.band_hz

    def __repr__(self) -> str:
        band = "" if self.band_hz is None else f", {self.band_hz[0]:g}-{self.band_hz[1]:g} Hz"
        facts = f"{described(self.channels)}; {self.rate_hz:g} Hz{band}, on {self.device}"
        return f"Denoiser({self.folder}: {self.config.model.name}, {facts})"

    @overload
    def denoise(
        self,
        x: str | Path | Recording,
        rate_hz: float | None = None,
        *,
        channels: Names | None = None,
        window_s: float | None = None,
    ) -> Recording: ...

    @overload
    def denoise(self, x: Samples, rate_hz: float, *, window_s: float | None = None) -> NDArray[np.float32]: ...

    def denoise(
        self,
        x: str | Path | Recording | Samples,
        rate_hz: float | None = None,
        *,
        channels: Names | None = None,
        window_s: float | None = None,
    ) -> Recording | NDArray[np.float32]:
        """Return the estimate of the heart sounds in a signal of any length and rate, as `drivebeat apply` writes it.

        x: the path of a recording, a Recording, or numbers [time] or [channel, time] whose rows are `channels`. Of a
            recording the channels with these names are taken, or the first ones if it has no names of its own.
        rate_hz: samples per second of an array; for a path, where the file does not state it.
        channels: other names, or indices from 0, of the recording's channels: the one to clean, then its references.
        window_s: length of a window in seconds, as in training or longer; None takes that of training.

        Returns a Recording with the channel "estimate" for a path or a Recording, and float32[time] for numbers; the
        rate, the length and the unit are those of the input. Gaps in a file are filled, so that times stay.

        Raises ConfigError for channels that are not those of the model and for a window that is too short; DataError
        for a file that cannot be read, samples that are NaN or infinite, a channel of equal samples, a signal that is
        too short (about 0.1 s), and a rate below twice the band's upper edge; OutOfMemory.
        """
        estimate = denoise(self._loaded, self._recording(x, rate_hz, channels), window_s)
        return estimate if isinstance(x, str | Path | Recording) else estimate.signals[0]

    def find_beats(
        self,
        x: str | Path | Recording | Samples,
        rate_hz: float | None = None,
        *,
        channels: Names | None = None,
        window_s: float | None = None,
    ) -> tuple[Recording, Beats]:
        """Return the estimate of a signal, and its beats with their probabilities, as `drivebeat apply` writes them.

        The estimate is a Recording with the channel "estimate", equal to that of `denoise`. The Beats have the arrays
        times_s (of S1), s2_s, rates_bpm and probability, [beat], and spans of 10 s with start_s, end_s, n_beats,
        heart_rate_bpm (None where it is not sure) and probability. By the run's calibration, where it has one.

        The arguments and errors are those of `denoise`.
        """
        estimate, sounds = denoise_and_hear(self._loaded, self._recording(x, rate_hz, channels), window_s)
        return estimate, beats_of(estimate, sounds, self._loaded.calibration)

    def adapted(
        self,
        x: str | Path | Recording | Samples,
        rate_hz: float | None = None,
        *,
        channels: Names | None = None,
        n_steps: int = 100,
    ) -> "Denoiser":
        """Return a denoiser whose model took `n_steps` steps of training on a signal; this one stays as it is.

        The clean signal is not needed: the model learns from its own estimates, mixed anew, as `drivebeat apply
        --adapt` does. It is for this signal and those like it, and is not stored.

        The other arguments and errors are those of `denoise`; ConfigError too for a signal shorter than one and a
        half windows of training.
        """
        return replace(self, _loaded=adapted(self._loaded, self._recording(x, rate_hz, channels), n_steps))

    def _recording(
        self, x: str | Path | Recording | Samples, rate_hz: float | None, channels: Names | None
    ) -> Recording:
        """Return `x` as a Recording with the channels of the model. Raises ConfigError, DataError."""
        if isinstance(x, str | Path):
            chosen = () if channels is None else names(channels)
            return read_recording(self.config.data, Path(x), chosen, rate_hz=rate_hz)
        if isinstance(x, Recording):
            return self._chosen(x, rate_hz, channels)
        if channels is not None:
            raise ConfigError(
                f"channels={channels!r}: the rows of an array are {', '.join(self.channels)}, in this order; "
                "leave channels out"
            )
        return self._of_array(x, rate_hz)

    def _chosen(self, recording: Recording, rate_hz: float | None, channels: Names | None) -> Recording:
        """Return the recording with the channels of the model. Raises ConfigError, DataError."""
        where = recording.source
        if rate_hz is not None and abs(rate_hz - recording.rate_hz) > RATE_TOLERANCE * recording.rate_hz:
            raise DataError(
                f"{where}: rate_hz={rate_hz:g}, but the recording has {recording.rate_hz:g} Hz; leave rate_hz out"
            )
        known = recording.channels
        wanted = choose(self.config.data, where, known) if channels is None else names(channels)
        rows, _ = pick_channels(known, wanted, where)
        chosen = replace(recording, signals=recording.signals[rows], channels=tuple(known[row] for row in rows))
        return with_note_of_missing(self.config.data, chosen)

    def _of_array(self, x: Samples, rate_hz: float | None) -> Recording:
        """Return numbers as a Recording with the channels of the model. Raises ConfigError, DataError."""
        needed = self.config.data.n_channels
        if rate_hz is None:
            raise DataError(f"{ARRAY}: has no rate of its own; give rate_hz=, in samples per second")
        if np.ma.is_masked(x):
            raise DataError(f"{ARRAY}: has masked samples; cut the signal there, or fill the gap")
        try:
            values, rate = np.asarray(x), float(rate_hz)
        except (TypeError, ValueError) as error:
            raise DataError(f"{ARRAY}: cannot be used ({error}); [time] or [channel, time] is needed") from error
        if values.dtype.kind not in "iuf":
            raise DataError(f"{ARRAY}: holds {values.dtype}; real numbers are needed")
        if values.ndim not in (1, 2):
            raise DataError(f"{ARRAY}: has shape {values.shape}; [time] or [channel, time] is needed")
        rows = np.atleast_2d(values)
        if len(rows) != needed:
            turned = "; give its transpose" if values.ndim == 2 and values.shape[1] == needed else ""
            raise ConfigError(
                f"{ARRAY}: has shape {values.shape}, so {len(rows)} channel{'s' if len(rows) > 1 else ''} [channel, "
                f"time]; the model needs {needed}: {', '.join(self.channels)}{turned}"
            )
        signals = np.stack([as_signal(row, "channel", []) for row in rows])
        return Recording(signals, rate, self.channels, ARRAY)


def load(folder: str | Path, *, device: str = "auto", threads: int | None = None) -> Denoiser:
    """Load the trained model in the folder of a run; `pretrained` is the default of those that come with Drivebeat.

    device: "auto" (a CUDA device if there is one), "cpu", "cuda" or "cuda:N".
    threads: CPU threads; None takes the number in the run's config. Another number changes the last bits.

    Raises ConfigError for a folder without a run and a device that is not there, CheckpointError for weights that are
    missing or do not fit, OutOfMemory.
    """
    path = run_folder(Path(folder))
    run = read_folder(path)
    return Denoiser(path, run, denoiser_of(run, path, device, threads))
