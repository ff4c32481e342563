"""Beats of whole recordings: how many are right, how sure the run is of them, and whether that is right.

Windows are too short for this: the decoder learns the rhythm of a minute from its clear parts. So the run denoises
stretches of held-out recordings (data.mixing.stretches), and its beats are compared with R peaks or, without these,
with the beats of the clean recording.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data import ecg
from data.config import MEASURED_HZ, DataConfig, HeldOutConfig
from data.corpus import Split
from data.mixing.stretches import stretches
from data.recording import Signal
from models.beats import WithBeats
from objectives.heart import WITHIN_BPM, envelope, match_events
from objectives.rhythm.confidence import (
    MAX_WRONG,
    Calibrator,
    Reliability,
    calibrator,
    reliability,
    threshold_for,
    usable_time,
)
from objectives.rhythm.decode import SPAN_S, TOLERANCE_S, Rhythm
from objectives.rhythm.durations import Floats
from training.calibration import DEFAULT, Calibration, Evidence, FittedOn
from training.config import RunConfig
from training.device import arithmetic, resolve_device
from training.passes import estimate_recording
from training.sounds import heart_trace, rhythm_of

Bools = NDArray[np.bool_]

BATCH_SIZE = 16
IDENTITY = "identity"
# Probability from which on the beats and the heart rate of a clean recording are its truth.
SURE = 0.9
# Fewest R peaks in 10 s that give a heart rate.
MIN_BEATS = 4
# From R to S1, in s.
DELAY_RANGE_S = (0.02, 0.13)
# A share of 2 % cannot be told from fewer spans.
LEAST_SPANS = round(1 / MAX_WRONG)
# Validation vehicles can be easier than others: few wrong spans there make no span sure that is likely to be wrong.
LEAST_SURE = 0.9
# Columns of an evaluation.
COLUMNS = ("usable_share", "wrong_share", "beat_f1", "calibration_error")


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The beats of a heart. s1_s: float64[beat] in s, ascending. rates_bpm: float64[span], of 10 s; NaN if unknown."""

    s1_s: Floats
    rates_bpm: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Probabilities as the decoder gives them, and outcomes, over any number of stretches.

    span_p, span_right: [span], of heart rates; right within 5 bpm. beat_p, beat_right: [beat]; right within 60 ms.
    counts: int64[3], beats that were found and are right, that are wrong, and that were missed.
    """

    span_p: Floats
    span_right: Bools
    beat_p: Floats
    beat_right: Bools
    counts: NDArray[np.int64]

    @property
    def f1(self) -> float:
        """Return F1 of the beats; NaN without any."""
        n_right, n_wrong, n_missed = self.counts.tolist()
        n_all = 2 * n_right + n_wrong + n_missed
        return 2 * n_right / n_all if n_all else float("nan")


def joined(cases: Iterable[Cases]) -> Cases:
    """Return the cases of all together."""
    found = list(cases)
    nothing, no_outcome = np.empty(0), np.empty(0, dtype=bool)
    return Cases(
        np.concatenate([nothing, *(c.span_p for c in found)]),
        np.concatenate([no_outcome, *(c.span_right for c in found)]),
        np.concatenate([nothing, *(c.beat_p for c in found)]),
        np.concatenate([no_outcome, *(c.beat_right for c in found)]),
        np.sum([np.zeros(3, dtype=np.int64), *(c.counts for c in found)], axis=0),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The cases of a split.

    by_snr: "network", "envelope" (evidence of the denoised stretches) or "identity" (the envelope of the noisy ones) ->
        SNR in dB -> cases, with minus infinity for noise without a heart.
    minutes, noise_minutes: of all mixtures, and of noise alone. n_recordings: clean ones.
    """

    by_snr: Mapping[str, Mapping[float, Cases]]
    n_recordings: int
    minutes: float
    noise_minutes: float


def evidence_of(model: nn.Module, calibration: Calibration = DEFAULT) -> Evidence:
    """Return the evidence that the beats of a model are found by."""
    return calibration.evidence or ("network" if isinstance(model, WithBeats) else "envelope")


def measure(
    model: nn.Module,
    run: RunConfig,
    recordings: Split,
    config: DataConfig,
    plan: HeldOutConfig,
    threads: int | None,
    *,
    with_identity: bool = False,
) -> Measured:
    """Find the beats in the stretches of the recordings of a split, denoised by `model`, by all evidence that it gives.

    model: of `run`; it is moved to the run's device. config: of the recordings; it says how long windows are.
    with_identity: also find those of the noisy stretches.
    """
    device = resolve_device(run.fit.device)
    model = model.to(device)
    found: dict[str, dict[float, list[Cases]]] = {}
    used: set[int] = set()
    samples = {True: 0, False: 0}
    clean, truth = None, None
    for stretch in stretches(recordings, config, plan):
        if stretch.clean is not clean:
            clean = stretch.clean
            truth = None if clean is None else truth_of(clean, config.rate_hz, stretch.r_peaks_s)
        with arithmetic(run.fit.seed, device, threads):
            rhythms = _denoised(model, stretch.noisy, config, device)
        if with_identity:
            rhythms[IDENTITY] = rhythm_of(heart_trace(stretch.noisy[0], config.rate_hz), MEASURED_HZ, None)
        for name, rhythm in rhythms.items():
            found.setdefault(name, {}).setdefault(stretch.snr_db, []).append(cases_of(rhythm, truth))
        used.add(stretch.recording)
        samples[truth is None] += stretch.noisy.shape[1]
    minutes = {is_noise: n / config.rate_hz / 60 for is_noise, n in samples.items()}
    by_snr = {name: {db: joined(cases) for db, cases in rows.items()} for name, rows in found.items()}
    return Measured(by_snr, len(used - {-1}), minutes[False], minutes[True])


def _denoised(model: nn.Module, noisy: Signal, config: DataConfig, device: torch.device) -> dict[str, Rhythm]:
    """Return the beats of noisy[channel, time], denoised as `drivebeat apply` does it, by evidence."""
    estimate, sounds = estimate_recording(model, noisy, config.rate_hz, config.window_samples, device, BATCH_SIZE)
    if not np.isfinite(estimate).all():
        estimate, sounds = np.zeros_like(estimate), None
    trace = heart_trace(estimate, config.rate_hz)
    rhythms: dict[str, Rhythm] = {"envelope": rhythm_of(trace, MEASURED_HZ, None)}
    if isinstance(model, WithBeats):
        rhythms["network"] = rhythm_of(trace, MEASURED_HZ, sounds)
    return rhythms


def truth_of(clean: Signal, rate_hz: float, r_peaks_s: Floats | None) -> Truth:
    """Return the beats of a clean recording [time] in the heart's band.

    S1 follows the R peaks by one delay, that of the highest mean envelope. Without R peaks the truth is what the
    decoder is sure of in the clean recording.
    """
    duration_s = clean.size / rate_hz
    starts_s = np.arange(0.0, duration_s, SPAN_S)
    if r_peaks_s is None or ecg.problem_of(r_peaks_s, duration_s):
        rhythm = rhythm_of(clean, rate_hz, None)
        rates_bpm = [span.rate_bpm if span.probability >= SURE else np.nan for span in rhythm.spans]
        return Truth(rhythm.s1_s[rhythm.probability >= SURE], np.array(rates_bpm))
    inside = [r_peaks_s[(r_peaks_s >= start_s) & (r_peaks_s < start_s + SPAN_S)] for start_s in starts_s]
    rates_bpm = [ecg.heart_rate_bpm(peaks_s) if peaks_s.size >= MIN_BEATS else np.nan for peaks_s in inside]
    return Truth(r_peaks_s + _delay_s(clean, rate_hz, r_peaks_s), np.array(rates_bpm))


def _delay_s(clean: Signal, rate_hz: float, r_peaks_s: Floats) -> float:
    """Return the time from R to S1: that of the highest mean envelope."""
    swing = envelope(clean[None], rate_hz)[0]
    delays_s = np.arange(*DELAY_RANGE_S, 1 / rate_hz)
    at = np.round((r_peaks_s[:, None] + delays_s) * rate_hz).astype(np.int64)
    return float(delays_s[np.argmax(swing[np.clip(at, 0, swing.size - 1)].mean(axis=0))])


def cases_of(rhythm: Rhythm, truth: Truth | None) -> Cases:
    """Return the cases of a stretch. truth: None for noise without a heart, where all that is found is wrong.

    Where the truth has no heart rate, neither spans nor beats count.
    """
    if truth is None:
        p = np.array([span.probability for span in rhythm.spans])
        n_beats = rhythm.s1_s.size
        wrong = np.zeros(n_beats, dtype=bool)
        return Cases(p, np.zeros(p.size, dtype=bool), rhythm.probability, wrong, np.array([0, n_beats, 0]))
    known = np.isfinite(truth.rates_bpm)
    spans = [span for span, is_known in zip(rhythm.spans, known, strict=False) if is_known]
    off_bpm = np.array([span.rate_bpm for span in spans]) - truth.rates_bpm[known][: len(spans)]
    counts, beat_p, beat_right = np.zeros(3, dtype=np.int64), [np.empty(0)], [np.empty(0, dtype=bool)]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]))) * SPAN_S
    for start_s, end_s in edges.reshape(-1, 2):
        s1_s = truth.s1_s[(truth.s1_s >= start_s) & (truth.s1_s < end_s)]
        if not s1_s.size:
            continue
        # Before the first beat and after the last it is not known whether there was another.
        near = (rhythm.s1_s > s1_s[0] - 2 * TOLERANCE_S) & (rhythm.s1_s < s1_s[-1] + 2 * TOLERANCE_S)
        found_s = rhythm.s1_s[near]
        counts += match_events(s1_s, found_s, TOLERANCE_S)
        nearest_s = np.abs(found_s[:, None] - s1_s[None, :]).min(axis=1, initial=np.inf)
        beat_p.append(rhythm.probability[near])
        beat_right.append(nearest_s <= TOLERANCE_S)
    return Cases(
        np.array([span.probability for span in spans]),
        np.abs(off_bpm) < WITHIN_BPM,
        np.concatenate(beat_p),
        np.concatenate(beat_right),
        counts,
    )


def fitted(measured: Measured, weights_sha256: str, fingerprint: str, plan: HeldOutConfig) -> Calibration:
    """Return the calibration that the cases give, all SNRs and noise without a heart together.

    The threshold is the lowest from which on at most MAX_WRONG of the sure spans are wrong, and at least LEAST_SURE. Of
    two kinds of evidence that with the longer usable time in the mixtures is taken, the network's if both have the
    same.

    Raises ValueError, with the reason, for fewer than LEAST_SPANS spans.
    """
    kinds: tuple[Evidence, ...] = ("network", "envelope")
    made = [_fitted_to(kind, measured, weights_sha256, fingerprint, plan) for kind in kinds if kind in measured.by_snr]
    if not made:
        raise ValueError(_too_few(0))
    return max(made, key=lambda one: _usable_share(measured, one))  # the first of equal ones


def _usable_share(measured: Measured, calibration: Calibration) -> float:
    assert calibration.evidence is not None
    mixtures = joined(cases for db, cases in measured.by_snr[calibration.evidence].items() if np.isfinite(db))
    return scores_of(mixtures, calibration)["usable_share"]


def _fitted_to(
    evidence: Evidence, measured: Measured, weights_sha256: str, fingerprint: str, plan: HeldOutConfig
) -> Calibration:
    cases = joined(measured.by_snr[evidence].values())
    n_spans = cases.span_p.size
    if n_spans < LEAST_SPANS:
        raise ValueError(_too_few(n_spans))
    spans = calibrator(cases.span_p, cases.span_right)
    beats = calibrator(cases.beat_p, cases.beat_right) if cases.beat_p.size else Calibrator((0.0, 1.0), (0.0, 1.0))
    threshold = max(LEAST_SURE, threshold_for(spans(cases.span_p), cases.span_right))
    wrong = usable_time(spans(cases.span_p), cases.span_right, threshold).wrong
    fitted_on = FittedOn(
        weights_sha256=weights_sha256,
        data_fingerprint=fingerprint,
        snrs_db=plan.snrs_db,
        seed=plan.seed,
        n_recordings=measured.n_recordings,
        minutes=round(measured.minutes, 2),
        noise_minutes=round(measured.noise_minutes, 2),
        n_spans=n_spans,
        n_beats=cases.beat_p.size,
        wrong_share=wrong if np.isfinite(wrong) else None,
    )
    return Calibration(threshold, spans, beats, evidence, fitted_on)


def _too_few(n_spans: int) -> str:
    return (
        f"validation recordings have {n_spans} spans of {SPAN_S:g} s with a known heart rate or none; "
        f"{LEAST_SPANS} are needed"
    )


def scores_of(cases: Cases, calibration: Calibration) -> dict[str, float]:
    """Return the COLUMNS of cases.

    usable_share: of the spans, those that are sure. wrong_share: of these, the share that is wrong by more than 5 bpm;
    NaN without any. beat_f1: of all beats, within 60 ms. calibration_error: the expected one, of heart rates.
    """
    if not cases.span_p.size:
        return dict.fromkeys(COLUMNS, float("nan"))
    p = calibration.of_spans(cases.span_p)
    usable = usable_time(p, cases.span_right, calibration.threshold)
    values = (usable.share, usable.wrong, cases.f1, reliability(p, cases.span_right).error)
    return dict(zip(COLUMNS, values, strict=True))


def reliabilities(cases: Cases, calibration: Calibration) -> dict[str, Reliability]:
    """Return the reliability of heart rates and of beats, after calibration."""
    return {
        "heart rates": reliability(calibration.of_spans(cases.span_p), cases.span_right),
        "beats": reliability(calibration.of_beats(cases.beat_p), cases.beat_right),
    }
