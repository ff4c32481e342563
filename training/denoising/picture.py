"""The picture of a denoised recording: noisy signal and estimate with its beats, heart rate, spectrogram."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.recording import Signal
from training.denoising.beats import Beats, Span
from training.evaluation.figures import COLOURS
from training.evaluation.showcase import draw_spectrogram, draw_trace, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
DETAIL_S = 10.0
# A longer recording also gets a detail, for its beats are too close to be seen.
MAX_WHOLE_S = 30.0
# Of the magnitudes, the share that is shown in whole: bumps would make all else flat.
SHOWN_SHARE = 0.999
MARGIN_BPM = 8.0
# Opacity of the mark of a beat of probability 0.
FAINTEST = 0.1
MARKS = "time in s; marks above the estimate: S1 (down) and S2 (up), faded where not sure"


def draw_estimate(
    noisy: Signal, estimate: Signal, rate_hz: float, beats: Beats, r_peaks_s: Floats | None, title: str, path: Path
) -> None:
    """Write a PNG: noisy[time] and estimate[time] with the beats, the heart rate, and the estimate's spectrogram.

    S1 and S2 are marked, fainter the less sure they are. A recording of more than MAX_WHOLE_S also has a detail of
    DETAIL_S, from a span with a usual heart rate.

    r_peaks_s: float64[beat], times of the recording's R peaks in s, to compare the heart rate with; None without.
    """
    from matplotlib.figure import Figure

    duration_s = estimate.size / rate_hz
    start_s = _detail_start_s(beats) if duration_s > MAX_WHOLE_S else None
    heights = (1, 1, 0.9, 1.1) if start_s is None else (1, 1, 0.9, 1.1, 0.25, 1, 1)
    figure = Figure(figsize=(11, 7.2 if start_s is None else 10.5), layout="constrained", dpi=110)
    axes = figure.subplots(len(heights), 1, height_ratios=heights)
    peaks = {"noisy": _peak(noisy), "estimate": _peak(estimate)}
    for axis, name, trace in zip(axes, peaks, (noisy, estimate), strict=False):
        draw_trace(axis, trace, rate_hz, name, peaks[name])
    _mark_beats(axes[1], beats, peaks["estimate"], in_detail=start_s is None)
    _heart_rate(axes[2], beats, r_peaks_s)
    draw_spectrogram(axes[3], estimate, rate_hz)
    for axis in axes[:3]:
        axis.tick_params(labelbottom=False)
        if start_s is not None:
            axis.axvspan(start_s, start_s + DETAIL_S, color="#f5b041", alpha=0.3, linewidth=0)
    for axis in axes[:4]:
        axis.set_xlim(0, duration_s)
    axes[3].set_xlabel(MARKS if start_s is None else "time in s; marks above the estimate: S1, faded where not sure")
    # A dollar sign would begin a formula.
    axes[0].set_title(title.replace("$", r"\$"), fontsize=11)
    if start_s is not None:
        axes[4].set_axis_off()
        _detail(axes[5:], noisy, estimate, rate_hz, beats, start_s)
    save(figure, path)


def _peak(trace: Signal) -> float:
    """Return the height of a trace in the picture."""
    return float(np.quantile(np.abs(trace), SHOWN_SHARE)) or float(np.max(np.abs(trace))) or 1.0


def _detail_start_s(beats: Beats) -> float:
    """Return the start of a span for the detail: the one with the median heart rate, or the middle one without any."""
    whole = [span for span in beats.spans if span.end_s - span.start_s > DETAIL_S - 0.5]
    told = sorted((span for span in whole if span.heart_rate_bpm is not None), key=_rate)
    return told[len(told) // 2].start_s if told else whole[len(whole) // 2].start_s


def _rate(span: Span) -> float:
    return span.heart_rate_bpm or 0.0


def _mark_beats(axis: "Axes", beats: Beats, peak: float, *, in_detail: bool) -> None:
    """Mark S1, and in detail S2, above a trace of that height; the less probable a beat, the fainter its marks."""
    opacity = FAINTEST + (1 - FAINTEST) * beats.probability
    kinds = [(beats.times_s, "v", 30), (beats.s2_s, "^", 16)] if in_detail else [(beats.times_s, "|", 30)]
    for times_s, marker, size in kinds:
        at = np.isfinite(times_s)
        _faded(axis, times_s[at], np.full(int(at.sum()), 1.12 * peak), opacity[at], marker, size)


def _faded(axis: "Axes", x: Floats, y: Floats, opacity: Floats, marker: str, size: int) -> None:
    """Draw points [point], each with its own opacity."""
    from matplotlib.colors import to_rgb

    colours = np.column_stack([np.tile(to_rgb(COLOURS["estimate"]), (x.size, 1)), opacity])
    axis.scatter(x, y, s=size, marker=marker, c=colours, linewidths=1)


def _heart_rate(axis: "Axes", beats: Beats, r_peaks_s: Floats | None) -> None:
    """Draw the heart rate of each span as a line, that of each beat as a dot, and the reference behind them."""
    shown: list[float] = []
    if r_peaks_s is not None and len(r_peaks_s) > 1:
        reference_bpm = 60.0 / np.diff(r_peaks_s)
        axis.plot(r_peaks_s[1:], reference_bpm, color=COLOURS["clean"], linewidth=1, alpha=0.6, label="R peaks")
        shown += [float(np.quantile(reference_bpm, share)) for share in (0.05, 0.95)]
    opacity = 0.6 * (FAINTEST + (1 - FAINTEST) * beats.probability)
    _faded(axis, beats.times_s, beats.rates_bpm, opacity, ".", 16)
    axis.plot([], [], ".", color=COLOURS["estimate"], markersize=4, alpha=0.6, label="beats")
    label: str | None = "10 s, where sure"
    for span in beats.spans:
        if span.heart_rate_bpm is not None:
            ends_s, bpm = [span.start_s, span.end_s], [span.heart_rate_bpm] * 2
            axis.plot(ends_s, bpm, color=COLOURS["estimate"], linewidth=2, label=label)
            label = None
            shown.append(span.heart_rate_bpm)
    axis.set_ylabel("bpm")
    axis.margins(x=0)
    axis.grid(alpha=0.25)
    if shown:
        axis.set_ylim(min(shown) - MARGIN_BPM, max(shown) + MARGIN_BPM)
        axis.legend(framealpha=0.8, fontsize=8, loc="upper right", ncols=3)
    if beats.heart_rate_bpm is None:
        axis.text(0.5, 0.5, "the estimate does not tell the heart rate", transform=axis.transAxes, ha="center")


def _detail(
    axes: NDArray[np.object_], noisy: Signal, estimate: Signal, rate_hz: float, beats: Beats, start_s: float
) -> None:
    """Draw DETAIL_S of both traces from `start_s`, with the beats."""
    part = slice(round(start_s * rate_hz), round((start_s + DETAIL_S) * rate_hz))
    for axis, name, trace in zip(axes, ("noisy", "estimate"), (noisy[part], estimate[part]), strict=True):
        peak = float(np.max(np.abs(trace))) or 1.0
        draw_trace(axis, trace, rate_hz, name, peak, start_s)
    _mark_beats(axes[1], beats, peak, in_detail=True)
    axes[1].set_xlim(start_s, start_s + DETAIL_S)
    axes[0].tick_params(labelbottom=False)
    axes[0].set_title(f"from {start_s:g} to {start_s + DETAIL_S:g} s", fontsize=10)
    axes[1].set_xlabel(MARKS)
