"""Files for people: figures and sounds of a typical window, and the table and figures of a run's scores.

A window is shown as noisy, clean and estimate. Scores are shown against SNR, one line per method.
"""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import hilbert

from data.files import atomic
from data.filters import resample
from data.mixing.mixture import HeldOut
from objectives.heart import detect_events
from training.evaluation.figures import (
    CLEAN_WIDTH,
    COLOURS,
    HIDDEN,
    LOOKS,
    METHOD_REACH,
    clip,
    curve_range,
    finish_clean,
    label_of,
    spread,
    title_of,
)
from training.evaluation.scores import SCORES, Row, in_heart_band, windows_at
from training.evaluation.shown import csv_numbers
from training.report import shown_snr

if TYPE_CHECKING:  # matplotlib is slow to import, and a worker trains before it draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Samples = NDArray[np.float32]
SHOWN_SNR_DB = -5.0
PITCH_FACTOR = 6
SOUND_RATE_HZ = 8000
PIECE_S, MARGIN_S = 60.0, 2.0
MAX_POINTS = 6000  # of a line; a longer signal is drawn as the range of its values in each of MAX_COLUMNS
MAX_COLUMNS = 1500


def write_showcase(mixture: HeldOut, estimates: NDArray[np.float32], title: str, folder: Path) -> list[Path]:
    """Write a typical window in the heart's band as a figure and three sounds to `folder`; return the files.

    estimates: float32[snr, window, time].
    """
    snr, window = typical_window(mixture, estimates)
    traces = np.stack([mixture.noisy[snr, window, 0], mixture.clean[window], estimates[snr, window]])
    noisy, clean, estimate = in_heart_band(traces, mixture)
    score = float(SCORES["si_sdr_db"].values(windows_at(mixture, estimates, snr))[window])
    figure = folder / "window.png"
    caption = f"{title}: mixture at {shown_snr(mixture.snrs_db[snr])} dB, estimate at {score:+.1f} dB SI-SDR"
    draw_window(noisy, clean, estimate, mixture.rate_hz, caption, figure)
    paths = [figure]
    for name, signal in (("noisy", noisy), ("clean", clean), ("estimate", estimate)):
        write_sound(signal, mixture.rate_hz, folder / f"{name}.wav")
        paths.append(folder / f"{name}.wav")
    return paths


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV with the columns method, snr_db (inf for clean windows) and one per score."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = list(rows[0].scores)
        writer.writerow(["method", "snr_db", *names])
        for row in rows:
            scores = [cell for name in names for cell in csv_numbers(row.scores[name], snr_db=row.snr_db)]
            writer.writerow([row.method, f"{row.snr_db:g}", *scores])


def write_score_figure(rows: Sequence[Row], score: str, highlight: str, path: Path) -> None:
    """Draw `score` against SNR, a line for each method. The method "zeros" is left out: it would flatten the others."""
    snrs_db = list(dict.fromkeys(row.snr_db for row in rows))
    lines = {
        method: [row.scores[score] for row in rows if row.method == method]
        for method in dict.fromkeys(row.method for row in rows)
        if method != HIDDEN
    }
    draw_scores(lines, snrs_db, score, path, highlight)


def write_sound(signal: NDArray[np.float32], rate_hz: float, path: Path) -> None:
    """Write signal[time] as a 16-bit WAV at an audible pitch, see `audible`."""
    with atomic(path) as temporary:
        soundfile.write(os.fsencode(temporary), audible(signal, rate_hz), SOUND_RATE_HZ, subtype="PCM_16", format="WAV")


def audible(signal: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    """Raise the pitch of signal[time] by PITCH_FACTOR without changing its duration; return it with peak 0.9.

    The phase of the analytic signal is multiplied and its envelope is kept, which is right for narrow-band signals.
    Unlike faster playback, this leaves the heart sounds at their times.

    A signal longer than PIECE_S is raised in pieces, which bounds the memory: the analytic signal of a narrow band
    depends on its neighbourhood only.

    Return float32[time] at SOUND_RATE_HZ.
    """
    resampled = resample(np.asarray(signal, dtype=np.float32)[None], rate_hz, SOUND_RATE_HZ)[0]
    piece, margin = round(PIECE_S * SOUND_RATE_HZ), round(MARGIN_S * SOUND_RATE_HZ)
    raised = np.empty(resampled.size)
    for start in range(0, resampled.size, piece):
        first, end = max(0, start - margin), min(start + piece, resampled.size)
        analytic = hilbert(resampled[first : end + margin])[start - first : end - first]
        raised[start:end] = np.abs(analytic) * np.cos(PITCH_FACTOR * np.angle(analytic))
    peak = np.max(np.abs(raised))
    level: NDArray[np.float32] = (0.9 * raised / peak if peak > 0 else raised).astype(np.float32)
    return level


def typical_window(mixture: HeldOut, estimates: NDArray[np.float32]) -> tuple[int, int]:
    """Return the indices (snr, window) of a typical window: at the SNR nearest to SHOWN_SNR_DB, with median SI-SDR."""
    snr = int(np.argmin(np.abs(np.asarray(mixture.snrs_db) - SHOWN_SNR_DB)))
    values = SCORES["si_sdr_db"].values(windows_at(mixture, estimates, snr))
    return snr, int(np.argsort(values)[len(values) // 2])


def draw_window(noisy: Samples, clean: Samples, estimate: Samples, rate_hz: float, title: str, path: Path) -> None:
    """Draw one window as three traces [time] with S1 and S2 marked, and the spectrogram of the estimate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.2), layout="constrained", dpi=110)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(1, 1, 1, 1.1))
    events = {"clean": detect_events(clean, rate_hz), "estimate": detect_events(estimate, rate_hz)}
    for axis, (name, trace) in zip(axes, {"noisy": noisy, "clean": clean, "estimate": estimate}.items(), strict=False):
        peak = float(np.max(np.abs(trace))) or 1.0
        draw_trace(axis, trace, rate_hz, name, peak)
        for event in events["clean"]:
            axis.axvline(event, color=COLOURS["clean"], alpha=0.25, linewidth=1)
        if name in events:
            axis.plot(events[name], np.full(len(events[name]), 1.12 * peak), "v", color=COLOURS[name], markersize=5)
    draw_spectrogram(axes[3], estimate, rate_hz)
    axes[0].set_title(title, fontsize=11)
    axes[3].set_xlabel("time in s; lines: S1 and S2 in the clean signal, triangles: events found in a trace")
    save(figure, path)


def draw_scores(
    rows: Mapping[str, Sequence[float]], snrs_db: Sequence[float], score: str, path: Path, highlight: str
) -> None:
    """Draw `score` against the SNR of the input, a line for each method; that of `highlight` is stronger.

    The values of clean windows stand beside the others on an axis of their own, whose range is larger.

    rows: method -> values at `snrs_db`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained", dpi=110)
    noisy = [i for i, snr_db in enumerate(snrs_db) if math.isfinite(snr_db)]
    clean = [i for i, snr_db in enumerate(snrs_db) if snr_db == math.inf]
    widths = (1.0, *[CLEAN_WIDTH] * len(clean))
    axis, *clean_axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for number, (name, values) in enumerate(rows.items()):
        if name != highlight and name in LOOKS:
            look, width, size, order = LOOKS[name].in_matplotlib, 1.2, 5, 2
        else:
            look = {"color": COLOURS["estimate"], "marker": "o"}
            width, size, order = 2.6, 6, 3
        shown = [values[i] for i in noisy]
        at = [snrs_db[i] for i in noisy]
        axis.plot(at, shown, linewidth=width, markersize=size, label=label_of(name), zorder=order, **look)
        for clean_axis, i in zip(clean_axes, clean, strict=True):
            clean_axis.plot(spread(number, len(rows)), values[i], markersize=size, zorder=order, **look)
    curves = [[values[i] for i in noisy] for values in rows.values()]
    finite = [value for values in curves for value in values if math.isfinite(value)]
    if finite:
        rising = SCORES[score].direction == "maximize"
        clip(axis, finite, curve_range(curves, rising=rising, reach=METHOD_REACH), "values", rising=rising)
    for clean_axis in clean_axes:
        finish_clean(clean_axis, score)
    axis.set_xticks(*zip(*((snrs_db[i], shown_snr(snrs_db[i])) for i in noisy), strict=True))
    axis.set_xlabel("SNR of the mixture in dB (25-55 Hz)")
    axis.set_ylabel(title_of(score))
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=9)
    save(figure, path)


def save(figure: "Figure", path: Path, dpi: int = 110) -> None:
    """Write `figure` as PNG, atomically. Needs no display and changes no global state of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": None})


def draw_trace(axis: "Axes", trace: Samples, rate_hz: float, name: str, peak: float, start_s: float = 0.0) -> None:
    """Draw trace[time], which begins at `start_s`, in the colour of `name`, with space for marks above `peak`.

    A long trace is drawn as the range of its values in each column of the picture.
    """
    if trace.size <= MAX_POINTS:
        axis.plot(start_s + np.arange(trace.size) / rate_hz, trace, color=COLOURS[name], linewidth=0.8)
    else:
        starts = np.linspace(0, trace.size, MAX_COLUMNS, endpoint=False).astype(np.int64)
        low, high = np.minimum.reduceat(trace, starts), np.maximum.reduceat(trace, starts)
        axis.fill_between(start_s + starts / rate_hz, low, high, color=COLOURS[name], linewidth=0.3)
    axis.set_ylabel(name)
    axis.margins(x=0)
    axis.set_ylim(-1.25 * peak, 1.25 * peak)


def draw_spectrogram(axis: "Axes", signal: Samples, rate_hz: float) -> None:
    """Draw the spectrogram of signal[time] from 10 to 80 Hz, over a range of 40 dB.

    A column of a long signal is the mean power of the frames in it.
    """
    window = max(16, int(0.25 * rate_hz))
    hop = max(1, window // 16)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(signal, window // 2), window)[::hop]
    taper = np.hanning(window)
    frequency_hz = np.fft.rfftfreq(2 * window, 1 / rate_hz)
    shown = (frequency_hz >= 10) & (frequency_hz <= 80)
    starts = np.linspace(0, len(frames), min(len(frames), MAX_COLUMNS), endpoint=False).astype(np.int64)
    power = [
        np.mean(np.abs(np.fft.rfft(column * taper, 2 * window, axis=1)[:, shown]) ** 2, axis=0)
        for column in np.split(frames, starts[1:])
    ]
    level_db = 10 * np.log10(np.stack(power, axis=1) + 1e-24)
    axis.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        extent=(0, len(signal) / rate_hz, 10, 80),
        cmap="magma",
        vmin=float(level_db.max()) - 40,
        vmax=float(level_db.max()),
        interpolation="bilinear",
    )
    axis.set_ylabel("estimate, Hz")
