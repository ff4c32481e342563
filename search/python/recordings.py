"""Read a recording, and prepare it for eye and ear."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.config import HEART_BAND_HZ
from data.filters import bandpass
from data.readers import read as readers
from data.readers.contents import pick_channels
from data.recording import Recording

Names = str | Sequence[str | int]


def read(
    path: str | Path,
    *,
    rate_hz: float | None = None,
    channels: Names | None = None,
    variable: str | None = None,
    variables: Names | None = None,
    gaps: str = "cut",
) -> Recording:
    """Read a recording of any format, with all its channels.

    Channels of other rates are resampled to that of the first signal channel. A channel named ECG becomes
    `Recording.ecg`, at its own rate. `Recording.notes` says what was assumed.

    rate_hz: samples per second, for a file that does not state it.
    channels: names, or indices from 0, of the channels to read, in this order.
    variable: the array of a .mat, .npz or .h5 file that is the signal, also within structs: "rec.sig".
    variables: of such a file, those that are one channel each.
    gaps: what to do with samples that are NaN or infinite, at most a tenth of all: "cut", "fill" or "refuse".

    Returns a Recording: read-only `.signals` float32[channel, time], `.rate_hz`, `.channels`, `.ecg` float32[time] or
    None, `.notes`.

    Raises DataError for a file that cannot be read so.
    """
    return readers.read(
        Path(path),
        rate_hz=rate_hz,
        channels=None if channels is None else names(channels),
        variable=variable,
        variables=() if variables is None else names(variables),
        gaps=gaps,
    )


def names(given: Names) -> tuple[str, ...]:
    """Return names or indices as texts; a single text is one name."""
    return (given,) if isinstance(given, str) else tuple(str(name) for name in given)


def in_band(recording: Recording, band_hz: tuple[float, float] = HEART_BAND_HZ) -> Recording:
    """Band-pass all channels with zero phase, as recordings are for training.

    band_hz: lower and upper edge in Hz; the heart's band by default.

    Raises DataError for a band above half the rate, and for a recording too short for the filter.
    """
    return replace(recording, signals=bandpass(recording.signals, recording.rate_hz, *band_hz))


def audible(recording: Recording, channel: str | int = 0) -> tuple[NDArray[np.float32], int]:
    """Make the heart sounds of a channel audible: 25-55 Hz, raised six times in pitch with every beat at its time.

    channel: its name, or its index from 0.

    Returns samples float32[time] with a peak of 0.9, and their rate in Hz, as IPython.display.Audio takes them:
    `Audio(samples, rate=rate_hz)`.

    Raises DataError for an unknown channel, and as `in_band` does.
    """
    from training.evaluation.showcase import SOUND_RATE_HZ, audible

    (row,), _ = pick_channels(recording.channels, (str(channel),), recording.source)
    chosen = in_band(replace(recording, signals=recording.signals[[row]], channels=(recording.channels[row],)))
    return audible(chosen.signals[0], chosen.rate_hz), SOUND_RATE_HZ
