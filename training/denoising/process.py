"""Denoise a recording and write its files: the estimate, its beats and heart rate, a picture, a sound."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data import ecg
from data.config import MEASURED_HZ
from data.recording import Recording
from training.apply import check_output, write_estimate
from training.denoising.adapt import adapted
from training.denoising.beats import (
    Beats,
    HeartRate,
    beats_of,
    described,
    reference_of,
    summary_of,
    write_beats,
    write_heart_rate,
)
from training.denoising.denoise import Denoiser, denoise_and_hear
from training.denoising.picture import draw_estimate
from training.denoising.recordings import Job
from training.device import memory_errors
from training.evaluation.showcase import write_sound
from training.numbers import finite
from training.sounds import heart_trace


@dataclass(frozen=True, slots=True)
class Applied:
    """A recording that was denoised.

    files: what was written, the estimate first.
    heart_rate, reference: of the estimate, and of the recording's R peaks; None if not measured.
    beats: in the estimate; None if not measured.
    """

    recording: Path
    files: tuple[Path, ...]
    n_samples: int
    rate_hz: float
    duration_s: float
    heart_rate: HeartRate | None
    reference: HeartRate | None
    beats: Beats | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """Return what was written, and the heart rates, in words."""
        size = f"{self.n_samples} samples at {self.rate_hz:g} Hz ({self.duration_s:.1f} s)"
        heart = () if self.heart_rate is None else (described(self.heart_rate, self.reference, self.duration_s),)
        return (f"{self.files[0]}: {size}", *heart)

    @property
    def document(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON."""
        return {
            "output": str(self.files[0]),
            "samples": self.n_samples,
            "rate_hz": self.rate_hz,
            "seconds": self.duration_s,
            "recording": str(self.recording),
            "files": [str(path) for path in self.files],
            "heart_rate": None if self.heart_rate is None else asdict(self.heart_rate),
            "reference": None if self.reference is None else asdict(self.reference),
            "beats": None if self.beats is None else _certainty(self.beats),
        }


def _certainty(beats: Beats) -> dict[str, Any]:
    """Return as plain values what beats were found by, and from where on a heart rate is sure (None for never)."""
    calibration = beats.calibration
    return {
        "evidence": beats.evidence,
        "calibrated": calibration.fitted_on is not None,
        **finite({"threshold": calibration.threshold}),
        "sure_s": beats.sure_s,
        "sure_share": beats.sure_s / beats.spans[-1].end_s,
    }


@memory_errors()
def process(
    denoiser: Denoiser,
    job: Job,
    recording: Recording,
    window_s: float | None = None,
    adapt_steps: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, unit: None,
) -> Applied:
    """Denoise `recording`, which was read for `job`, and write the job's files.

    window_s: see training.apply.apply. adapt_steps: see training.denoising.adapt.
    progress: called with the number of steps or windows done, the number of all, and "steps" or "windows".

    Raises ConfigError for an estimate that cannot be written as the job says, before any work; FileError if a file
    cannot be written; and as `denoise` does.
    """
    check_output(job.estimate, recording)
    is_measured = job.beats is not None or job.picture is not None
    denoiser = adapted(denoiser, recording, adapt_steps, lambda done, total: progress(done, total, "steps"))
    estimate, sounds = denoise_and_hear(
        denoiser, recording, window_s, lambda done, total: progress(done, total, "windows")
    )
    trace = None
    if is_measured or job.audible is not None:
        trace = heart_trace(estimate.signals[0], estimate.rate_hz)
    beats = beats_of(estimate, sounds, denoiser.calibration, trace) if is_measured else None
    r_peaks_s = ecg.beats(recording) if is_measured else None
    write_estimate(estimate.signals[0], recording, job.estimate)
    if beats is not None and job.beats is not None and job.heart_rate is not None:
        write_beats(beats, job.beats)
        write_heart_rate(beats, job.heart_rate)
    if beats is not None and trace is not None and job.picture is not None:
        signals = heart_trace(recording.signals[0], recording.rate_hz), trace
        title = f"{recording.source.name}: {recording.channels[0]}, denoised by {denoiser.run.model.name}"
        draw_estimate(*signals, MEASURED_HZ, beats, r_peaks_s, title, job.picture)
    if trace is not None and job.audible is not None:
        write_sound(trace, MEASURED_HZ, job.audible)
    return Applied(
        job.recording,
        job.files,
        estimate.signals.shape[1],
        recording.rate_hz,
        recording.duration_s,
        None if beats is None else summary_of(beats),
        None if r_peaks_s is None else reference_of(r_peaks_s, recording.duration_s),
        beats,
    )
