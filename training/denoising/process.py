"""Denoise a recording and write its files: the estimate, its beats and heart rate, a picture, a sound."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data import ecg
from data.recording import Recording
from training.apply import check_output, write_estimate
from training.denoising.beats import (
    MEASURED_HZ,
    HeartRate,
    beats_in,
    described,
    in_heart_band,
    reference_of,
    summary_of,
    write_beats,
    write_heart_rate,
)
from training.denoising.denoise import Denoiser, denoise
from training.denoising.picture import draw_estimate
from training.denoising.recordings import Job
from training.device import memory_errors
from training.evaluation.showcase import write_sound


@dataclass(frozen=True, slots=True)
class Applied:
    """A recording that was denoised.

    files: what was written, the estimate first.
    heart_rate, reference: of the estimate, and of the recording's R peaks; None if not measured.
    """

    recording: Path
    files: tuple[Path, ...]
    n_samples: int
    rate_hz: float
    duration_s: float
    heart_rate: HeartRate | None
    reference: HeartRate | None

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
        }


@memory_errors()
def process(
    denoiser: Denoiser,
    job: Job,
    recording: Recording,
    window_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Applied:
    """Denoise `recording`, which was read for `job`, and write the job's files.

    window_s, progress: see training.apply.apply.

    Raises ConfigError for an estimate that cannot be written as the job says, before any work; FileError if a file
    cannot be written; and as `denoise` does.
    """
    check_output(job.estimate, recording)
    estimate = denoise(denoiser, recording, window_s, progress)
    is_measured = job.beats is not None or job.picture is not None
    trace = in_heart_band(estimate) if is_measured or job.audible is not None else None
    beats = beats_in(trace) if is_measured and trace is not None else None
    r_peaks_s = ecg.beats(recording) if is_measured else None
    write_estimate(estimate.signals[0], recording, job.estimate)
    if beats is not None and job.beats is not None and job.heart_rate is not None:
        write_beats(beats, job.beats)
        write_heart_rate(beats, job.heart_rate)
    if beats is not None and trace is not None and job.picture is not None:
        signals = in_heart_band(recording), trace
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
    )
