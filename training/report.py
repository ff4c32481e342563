"""The report that the trainer yields after each epoch, and the test for a collapsed output.

An output has collapsed if it is silent, or if it is a copy of the noisy input.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.mixing.mixture import HeldOut
from objectives.metrics import SI_SDR_FLOOR_DB, cosine_similarity, rms_ratio_db
from training.config import RunConfig

# An estimate counts as silent below this level, relative to the clean signal.
SILENCE_DB = -40.0
# An estimate counts as a copy above this correlation with its input. A signal with noise at -27 dB correlates that
# well with itself without noise; no mixture that matters has so little noise.
COPY_LIKENESS = 0.999
# Only mixtures with an SNR below this are noisy enough for a copy to be wrong.
NOISY_BELOW_DB = 15.0
# Optimiser steps at the start of a run in which its output is not checked.
GRACE_STEPS = 100


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The result of one epoch.

    epoch: counted from 0.
    n_epochs: the largest number of epochs of the run; `last` says whether another epoch follows.
    loss: mean over the training steps.
    score: fit.score, mean over the validation SNRs.
    by_snr: fit.score at each SNR, by the SNR in dB with its sign.
    best_score, best_epoch: over the epochs from the end of the ramps on; None before.
    learning_rate, gain, peak_share: of the epoch, see training.schedule; the learning rate of its last step.
    snr_db: mean in-band SNR of the training mixtures, without those of heart or noise alone; infinite at gain 0.
    n_windows: training windows drawn.
    seconds: duration of the epoch.
    precision: of the arithmetic.
    output_db, input_likeness: of the validation estimates, see `Output`.
    collapsed: why the output is useless, see `collapse_of`; else "".
    stopped: why the run ends before n_epochs; else "".

    Checkpoints of earlier versions lack the fields that have defaults.
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
        """Return whether the run ends with this epoch."""
        return bool(self.stopped) or self.epoch + 1 == self.n_epochs


def shown_snr(snr_db: float) -> str:
    """Return an SNR in dB for people: -5, 0, +5. (The keys of by_snr have +0 for 0.)"""
    return f"{snr_db:+g}" if snr_db else "0"


def snr_heading(snr_db: float) -> str:
    """Return the heading of an SNR in a table or at a tick: "-5 dB", and "clean" for windows without noise."""
    return "clean" if snr_db == math.inf else f"{shown_snr(snr_db)} dB"


@dataclass(frozen=True, slots=True)
class Output:
    """Level and likeness to the input of a set of estimates.

    output_db: RMS of all estimates over RMS of the clean windows in dB, at least -60.
    input_likeness: |correlation| of estimate and noisy input (channel 0), mean over the windows; the smallest of the
        SNRs' values.
    """

    output_db: float
    input_likeness: float


def measure_output(estimates: NDArray[np.float32], mixture: HeldOut) -> Output:
    """Measure the level and the likeness to the input of estimates float32[snr, window, time] of a held-out mixture."""
    estimate = torch.from_numpy(estimates)
    clean = torch.tensor(mixture.clean).expand_as(estimate)
    likeness = cosine_similarity(estimate, torch.tensor(mixture.noisy[:, :, 0])).abs().mean(dim=1)
    return Output(float(rms_ratio_db(estimate.flatten(), clean.flatten())), float(likeness.min()))


def collapse_of(run: RunConfig, report: EpochReport, before: EpochReport | None) -> str:
    """Return why the output is useless, if this validation and the one before both show it; else "".

    Silence: the output is more than 40 dB below the clean signal.
    Copy: the output correlates by more than 0.999 with its input at every SNR, although the training mixtures are
        noisy (mean SNR below 15 dB; at gain 0 a copy is right) and an SNR of the validation is below 15 dB too.

    Models with residual connections or masks may start near silence or near their input. Therefore the first 100
    steps and the learning rate's warm-up are not checked, and a model that is recovering has not collapsed: its
    output grows by 1 dB, or its distance from the input by a fifth, from one validation to the next. (Measured at the
    smallest learning rate of the ranges, 1e-4: from step 100 on, the defaults of every model stay above -12 dB and
    below a correlation of 0.99.)

    before: the report of the epoch before; None in the first epoch.
    """
    if before is None or not (_is_checked(run, report) and _is_checked(run, before)):
        return ""
    return _silence(_output(report), _output(before)) or _copy(run, report, before)


def _silence(now: Output, before: Output) -> str:
    """Return the message for a silent output; "" if it is not silent or is growing."""
    if max(now.output_db, before.output_db) >= SILENCE_DB or now.output_db >= before.output_db + 1.0:
        return ""
    level = "60 dB or more" if now.output_db <= SI_SDR_FLOOR_DB else f"{-now.output_db:.0f} dB"
    return f"output fell to silence ({level} under the clean signal)"


def _copy(run: RunConfig, report: EpochReport, before: EpochReport) -> str:
    """Return the message for a copy of the input; "" if it is none or is moving away from the input."""
    if max(report.snr_db, before.snr_db, min(run.data.validation.snrs_db)) >= NOISY_BELOW_DB:
        return ""
    likeness, likeness_before = _output(report).input_likeness, _output(before).input_likeness
    # At least 1e-6, because rounding changes the last digits of a perfect copy.
    is_leaving = 1 - likeness >= 1.2 * max(1 - likeness_before, 1e-6)
    if min(likeness, likeness_before) <= COPY_LIKENESS or is_leaving:
        return ""
    return f"output copies the input (correlation {likeness:.4f} or more at every SNR)"


def _output(report: EpochReport) -> Output:
    assert report.output_db is not None and report.input_likeness is not None
    return Output(report.output_db, report.input_likeness)


def _is_checked(run: RunConfig, report: EpochReport) -> bool:
    """Return whether an epoch lies after the first steps and the warm-up, and its output was measured."""
    n_steps = report.n_windows // run.data.batch_windows(run.fit.batch_size)
    warmup = run.optimiser.warmup_share * report.n_epochs * n_steps
    return report.output_db is not None and (report.epoch + 1) * n_steps >= max(GRACE_STEPS, warmup)
