"""EpochReport: what one epoch of a run came to, as the trainer tells it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.mixing.mixture import HeldOut
from objectives.metrics import SI_SDR_FLOOR_DB, cosine_similarity, rms_ratio_db
from training.config import RunConfig


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to.

    n_epochs: as many as the run may have; `last` tells whether another one follows. score: fit.score, mean over the
    validation SNRs; by_snr has it for each of them. best_score, best_epoch: over the epochs after the ramps' end,
    None before. snr_db: mean in-band SNR of the epoch's training mixtures, infinite at gain 0. precision: of the
    arithmetic. output_db, input_likeness: of the validation estimates (training.report). collapsed: why the run's
    output is of no use any more, else "". stopped: why the run ends before n_epochs, else "".

    The fields with defaults are missing in the checkpoints of earlier versions.
    """

    epoch: int
    n_epochs: int
    loss: float
    score: float
    by_snr: dict[str, float]
    best_score: float | None
    best_epoch: int | None
    learning_rate: float
    gain: float
    peak_share: float
    snr_db: float
    n_windows: int
    seconds: float
    precision: str = ""
    output_db: float | None = None
    input_likeness: float | None = None
    collapsed: str = ""
    stopped: str = ""

    @property
    def last(self) -> bool:
        """Whether the run ends with this epoch."""
        return bool(self.stopped) or self.epoch + 1 == self.n_epochs


def shown_snr(snr_db: float) -> str:
    """An SNR in dB as people read it: -5, 0, +5. The keys of by_snr say +0."""
    return f"{snr_db:+g}" if snr_db else "0"


SILENCE_DB = -40.0
COPY_LIKENESS = 0.999  # of a signal with noise at -27 dB: no mixture that matters is so near its clean signal
NOISY_BELOW_DB = 15.0
GRACE_STEPS = 100


@dataclass(frozen=True, slots=True)
class Output:
    """output_db: RMS of all estimates over RMS of the clean windows, in dB from -60 up. input_likeness: |correlation|
    of estimate and noisy input (channel 0), mean over the windows, the least of all SNRs."""

    output_db: float
    input_likeness: float


def measure_output(estimates: NDArray[np.float32], mixture: HeldOut) -> Output:
    """How loud the estimates float32[snr, window, time] of a held-out mixture are, and how like their input."""
    estimate = torch.from_numpy(estimates)
    clean = torch.tensor(mixture.clean).expand_as(estimate)
    likeness = cosine_similarity(estimate, torch.tensor(mixture.noisy[:, :, 0])).abs().mean(dim=1)
    return Output(float(rms_ratio_db(estimate.flatten(), clean.flatten())), float(likeness.min()))


def collapse_of(run: RunConfig, report: EpochReport, before: EpochReport | None) -> str:
    """The reason why the output is of no use, where this validation and the one before it show the same; else "".

    Silence: the output is more than 40 dB under the clean signal. Copy: it correlates by more than 0.999 with its
    input at every SNR, though training mixtures are noisy (mean SNR under 15 dB; at gain 0 a copy is right) and
    validation has an SNR under 15 dB too.

    A model may begin near silence or near its input: residual connections and masks do. So nothing is judged in the
    learning rate's warm-up nor in the first 100 steps; and a model that is on its way out, the output growing by
    1 dB or the distance from its input by a fifth from one validation to the next, has not collapsed. (Measured at
    the least learning rate of the ranges, 1e-4: from the 100th step on every family's defaults stay above -12 dB and
    below a correlation of 0.99.)
    """
    if before is None or not (_is_judged(run, report) and _is_judged(run, before)):
        return ""
    return _silence(_output(report), _output(before)) or _copy(run, report, before)


def _silence(now: Output, before: Output) -> str:
    if max(now.output_db, before.output_db) >= SILENCE_DB or now.output_db >= before.output_db + 1.0:
        return ""
    level = "60 dB or more" if now.output_db <= SI_SDR_FLOOR_DB else f"{-now.output_db:.0f} dB"
    return f"output fell to silence ({level} under the clean signal)"


def _copy(run: RunConfig, report: EpochReport, before: EpochReport) -> str:
    if max(report.snr_db, before.snr_db, min(run.data.validation.snrs_db)) >= NOISY_BELOW_DB:
        return ""
    likeness, likeness_before = _output(report).input_likeness, _output(before).input_likeness
    leaves = 1 - likeness >= 1.2 * max(1 - likeness_before, 1e-6)  # the last digits of a perfect copy come and go
    if min(likeness, likeness_before) <= COPY_LIKENESS or leaves:
        return ""
    return f"output copies the input (correlation {likeness:.4f} or more at every SNR)"


def _output(report: EpochReport) -> Output:
    assert report.output_db is not None and report.input_likeness is not None
    return Output(report.output_db, report.input_likeness)


def _is_judged(run: RunConfig, report: EpochReport) -> bool:
    n_steps = report.n_windows // run.data.batch_windows(run.fit.batch_size)
    warmup = run.optimiser.warmup_share * report.n_epochs * n_steps
    return report.output_db is not None and (report.epoch + 1) * n_steps >= max(GRACE_STEPS, warmup)
