"""Describe the recording in a file: numbers for each channel, and a figure."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from data.config import HEART_BAND_HZ
from data.ecg import beats, heart_rate_bpm, problem_of
from data.errors import DataError, printable
from data.files import atomic
from data.filters import bandpass
from data.quality import Defects, defects
from data.readers.contents import Variable
from data.readers.read import variables
from data.recording import Recording, Signal

TRACE_S = 10.0
SPECTRUM_TO_HZ = 100.0


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """The numbers of a channel.

    rms: around the mean, in the file's units.
    band_db: power in 25-55 Hz relative to all power above 0 Hz, in dB; NaN if the rate is too low.
    kurtosis: fourth central moment over the squared variance; 3 for Gaussian noise, NaN for a constant channel.
    contrast_db: by how much the sounds of a heart stand above their floor in 25-55 Hz; NaN if it was not measured.
    defects: clipping, dropouts, mains hum, copies.
    """

    name: str
    rms: float
    band_db: float
    kurtosis: float
    contrast_db: float
    defects: Defects


@dataclass(frozen=True, slots=True)
class Info:
    """A file and the recording read from it.

    heart_rate_bpm: from the median interval of the annotated R peaks or those in the ECG; None without either, NaN for
        fewer than three beats.
    ecg_problem: why the R peaks cannot be the reference of a heart rate; "" if they can, or if there are none.
    notes: what the reader assumed, corrected or left out.
    """

    path: Path
    variables: tuple[Variable, ...]
    rate_hz: float
    duration_s: float
    channels: tuple[ChannelInfo, ...]
    ecg_rate_hz: float | None
    n_beats: int | None
    heart_rate_bpm: float | None
    ecg_problem: str
    notes: tuple[str, ...]

    @property
    def held(self) -> tuple[str, ...]:
        """Return what is in the file, in words: "variable acc (3 x 500 float64)"; "column x" for a text table."""
        return tuple(_in_words(variable) for variable in self.variables)


def _in_words(variable: Variable) -> str:
    if variable.shape:
        return f"variable {variable}"
    if variable.dtype == "column":  # whose length only reading the table tells
        return f"column {printable(variable.name)}"
    is_one = variable.dtype.rstrip("0123456789") in ("int", "uint", "float", "double", "single")
    return f"variable {variable}" if is_one else f"variable {printable(variable.name)} ({printable(variable.dtype)})"


def describe(path: Path, recording: Recording, contrasts_db: Sequence[float] | None = None) -> Info:
    """Measure a recording that was read from `path`. Raises DataError if the file's variables cannot be listed.

    contrasts_db: of each channel, measured with the envelope of heart sounds; None leaves them unknown.
    """
    r_peaks_s = beats(recording)
    contrasts_db = contrasts_db or [math.nan] * len(recording.channels)
    return Info(
        path=path,
        variables=variables(path),
        rate_hz=recording.rate_hz,
        duration_s=recording.duration_s,
        channels=tuple(
            _measured(name, row, recording.rate_hz, contrast, found)
            for name, row, contrast, found in zip(
                recording.channels, recording.signals, contrasts_db, defects(recording), strict=True
            )
        ),
        ecg_rate_hz=recording.ecg_rate_hz,
        n_beats=None if r_peaks_s is None else int(r_peaks_s.size),
        heart_rate_bpm=None if r_peaks_s is None else heart_rate_bpm(r_peaks_s),
        ecg_problem="" if r_peaks_s is None else problem_of(r_peaks_s, recording.duration_s),
        notes=recording.notes,
    )


def document(info: Info) -> dict[str, Any]:
    """Return `info` as plain values for JSON; None for what cannot be measured."""
    channels = [
        {
            "name": channel.name,
            "rms": channel.rms,
            "band_db": _finite(channel.band_db),
            "kurtosis": _finite(channel.kurtosis),
            "contrast_db": _finite(channel.contrast_db),
            **asdict(channel.defects),
        }
        for channel in info.channels
    ]
    return {
        "path": str(info.path),
        "variables": [asdict(variable) for variable in info.variables],
        "rate_hz": info.rate_hz,
        "duration_s": info.duration_s,
        "channels": channels,
        "ecg_rate_hz": info.ecg_rate_hz,
        "n_beats": info.n_beats,
        "heart_rate_bpm": None if info.heart_rate_bpm is None else _finite(info.heart_rate_bpm),
        "ecg_problem": info.ecg_problem,
        "notes": [*info.notes],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check_picture(path: Path) -> None:
    """Raise DataError if `path` is not the name of a .png."""
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: pictures are written as .png; name a file that ends so")


def draw(recording: Recording, path: Path) -> None:
    """Write a PNG, atomically: the first 10 s of each channel in 25-55 Hz with R peaks, and its spectrum to 100 Hz.

    The spectrum is that of the signal as recorded, by Welch's method (2 s Hann windows that overlap by half), with the
    band shaded.

    Raises DataError if the rate is too low for the band, the recording is too short to filter, or `path` is not a .png;
    FileError if it cannot be written.
    """
    # Imported here because matplotlib is slow to import. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_picture(path)
    n_channels = len(recording.channels)
    # Equal height for each channel, but limited, so that the figure can be opened.
    figure = Figure(figsize=(13, min(1.2 + 1.6 * n_channels, 40.0)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_channels, 2, squeeze=False, sharex="col", width_ratios=(3, 1))
    r_peaks_s = beats(recording)
    rate_hz = recording.rate_hz
    n_shown = min(recording.signals.shape[1], round(TRACE_S * rate_hz))
    # More is filtered than shown, so that the end effects of the filter do not show.
    n_used = min(recording.signals.shape[1], n_shown + round(rate_hz))
    time_s = np.arange(n_shown) / rate_hz
    for i, (name, row) in enumerate(zip(recording.channels, recording.signals, strict=True)):
        trace, spectrum = panels[i]
        trace.plot(time_s, bandpass(row[:n_used], rate_hz, *HEART_BAND_HZ)[:n_shown], color="#1f4e79", linewidth=0.7)
        if r_peaks_s is not None:
            for r_peak_s in r_peaks_s[r_peaks_s < time_s[-1]]:
                trace.axvline(r_peak_s, color="#c0392b", linewidth=0.8, alpha=0.7)
        trace.set_ylabel(name)
        trace.set_xlim(0, time_s[-1])
        frequencies_hz, power = _spectrum(row, rate_hz)
        shown = (frequencies_hz > 0) & (frequencies_hz <= SPECTRUM_TO_HZ)
        # A filtered recording may have no power at some frequencies.
        level_db = 10 * np.log10(np.maximum(power[shown], np.finfo(np.float64).tiny))
        spectrum.axvspan(*HEART_BAND_HZ, color="#f5b041", alpha=0.25, linewidth=0)
        spectrum.plot(frequencies_hz[shown], level_db, color="#1f4e79", linewidth=0.8)
        spectrum.set_xlim(0, SPECTRUM_TO_HZ)
        spectrum.set_ylim(max(level_db.min(), level_db.max() - 80) - 3, level_db.max() + 3)
        for panel in (trace, spectrum):
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(labelsize=8)
    heart = "" if r_peaks_s is None else f", {heart_rate_bpm(r_peaks_s):.0f} bpm"
    peaks = "" if r_peaks_s is None else ", R peaks in red"
    panels[0, 0].set_title(f"{HEART_BAND_HZ[0]:g}-{HEART_BAND_HZ[1]:g} Hz{peaks}", fontsize=10, loc="left")
    panels[0, 1].set_title("spectrum, dB per Hz", fontsize=10, loc="left")
    panels[-1, 0].set_xlabel("time (s)")
    panels[-1, 1].set_xlabel("frequency (Hz)")
    # A dollar sign would begin a formula.
    title = f"{recording.source.name}: {recording.duration_s:.1f} s at {rate_hz:g} Hz{heart}"
    figure.suptitle(title.replace("$", r"\$"), fontsize=11)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _measured(name: str, row: Signal, rate_hz: float, contrast_db: float, found: Defects) -> ChannelInfo:
    centred = row.astype(np.float64)
    centred -= centred.mean()
    variance = float(np.mean(centred**2))
    frequencies_hz, power = _spectrum(row, rate_hz)
    in_band = (frequencies_hz >= HEART_BAND_HZ[0]) & (frequencies_hz <= HEART_BAND_HZ[1])
    band_db = float("nan")
    total = float(power[frequencies_hz > 0].sum())
    if rate_hz > 2 * HEART_BAND_HZ[1] and in_band.any() and total > 0:
        share = float(power[in_band].sum()) / total
        band_db = 10 * float(np.log10(max(share, np.finfo(np.float64).tiny)))
    kurtosis = float(np.mean(centred**4)) / variance**2 if variance else float("nan")
    return ChannelInfo(name, variance**0.5, band_db, kurtosis, contrast_db, found)


def _spectrum(row: Signal, rate_hz: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n_window = min(row.size, max(round(2 * rate_hz), 8))
    frequencies_hz, power = welch(row.astype(np.float64), rate_hz, nperseg=n_window)
    return np.asarray(frequencies_hz, np.float64), np.asarray(power, np.float64)
