"""How long the parts of a heart's cycle last: the prior of the decoder, and its tables in frames.

A rhythm is a chain of beats. Each beat has a class of period, T. The next beat follows after a cycle of about T, and
its class is the same or a near one. S2 follows S1 within the cycle; the diastole is the rest of it.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Time from S1 to S2 in s: QS2 = 541 - 2.2 HR ms at rest (men; women 540 - 2.0 HR; Chest 80 (1981) 613), less the 100 ms
# from the Q wave to S1 (45 ms from Q to R, 35-78 ms from R to S1, typically 45-65).
SYSTOLE_S = 0.441
SYSTOLE_S_PER_BPM = -0.0022
# Densities are cut at this many spreads: cycles and systoles beyond have no probability.
CYCLE_CUT = 6.0
SYSTOLE_CUT = 2.4
# Degrees of freedom of the cycle's logarithm (Student's t). At slow rates breathing changes a cycle by up to 20 %, in
# most hearts it is far less: a normal density that allows for the former cannot tell the latter from noise.
CYCLE_TAILS = 4.0
# A sound's shape in frames is cut at this many standard deviations.
SOUND_CUT = 2.0
_OPEN_UNIT = ("missed_s1", "missed_s2", "missed_s2_early", "ectopic_share", "no_rhythm_at_start")


@dataclass(frozen=True, slots=True)
class RhythmPrior:
    """What is known of a heart's rhythm before a recording is seen. Times in s, rates in bpm, shares in (0, 1).

    low_bpm, high_bpm, n_periods: the classes of period, evenly spaced in the logarithm. 30 are 5 % apart.
    usual_bpm, usual_sd: median of the rate, and SD of its logarithm; persons at rest and drivers under strain.
    systole_s, systole_s_per_bpm: S1 to S2 is systole_s + systole_s_per_bpm * rate, see SYSTOLE_S.
    shortest_systole_s: the least mean; the regression was measured at rest and would reach 45 ms at 180 bpm.
    systole_sd_s: spread of the systole. QS2 at a given rate has an SD of 14 ms between healthy persons, the delay of S1
        one of 10 ms, a beat one of 3-10 ms; the rest is for medicines, illness and the tilt of the sensor.
    cycle_spread: spread of the logarithm of a cycle about its class, see CYCLE_TAILS. Breathing and Mayer waves move a
        rate of 75 bpm by 1-5 bpm; half the distance of two classes is in it too.
    change_sd: SD of the change of the class's logarithm from beat to beat.
    sound_sd_s: SD of the bell that a sound is in the frames. S1 is 50-88 ms wide at half maximum in 25-55 Hz, S2 45-70.
    missed_s1, missed_s2: share of beats whose S1 or S2 leaves no trace. S2 is the weaker of the two.
    ectopic_share: share of beats that come early, after a part of the period evenly drawn from early_share. The beat
        after them comes after a part evenly drawn from pause_share. missed_s2_early: their S2 is faint.
    rhythm_s, gap_s: mean duration of a rhythm that can be followed, and of a stretch without.
    no_rhythm_at_start: probability of the latter at the start of a recording.
    clutter_hz: rate of bumps that look like a sound and are none, with and without a rhythm. As they may always occur,
        a bump, however loud, is no reason to drop a rhythm, nor to find one.
    evidence_weight: factor of the log-likelihoods given. Below 1 where neighbouring frames repeat each other.

    Raises ValueError for a value outside its range.
    """

    low_bpm: float = 40.0
    high_bpm: float = 180.0
    n_periods: int = 30
    usual_bpm: float = 75.0
    usual_sd: float = 0.3
    systole_s: float = SYSTOLE_S
    systole_s_per_bpm: float = SYSTOLE_S_PER_BPM
    shortest_systole_s: float = 0.16
    systole_sd_s: float = 0.030
    cycle_spread: float = 0.03
    change_sd: float = 0.02
    sound_sd_s: float = 0.026
    missed_s1: float = 0.1
    missed_s2: float = 0.2
    ectopic_share: float = 0.01
    early_share: tuple[float, float] = (0.6, 0.85)
    pause_share: tuple[float, float] = (1.1, 1.5)
    missed_s2_early: float = 0.6
    rhythm_s: float = 120.0
    gap_s: float = 20.0
    no_rhythm_at_start: float = 0.3
    clutter_hz: float = 1.5
    evidence_weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.low_bpm < self.high_bpm < np.inf:
            raise ValueError(
                f"low_bpm is {self.low_bpm} and high_bpm {self.high_bpm}; 0 < low_bpm < high_bpm is needed"
            )
        if self.n_periods < 2:
            raise ValueError(f"n_periods is {self.n_periods}; at least 2 classes are needed")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _OPEN_UNIT:
                if not 0 < value < 1:
                    raise ValueError(f"{field.name} is {value}; a share between 0 and 1 (neither of them) is needed")
            elif field.name in ("early_share", "pause_share"):
                if not 0 < value[0] <= value[1] < 3:
                    raise ValueError(f"{field.name} is {value}; two ascending parts of a period below 3 are needed")
            elif field.name != "systole_s_per_bpm" and not 0 < value < np.inf:
                raise ValueError(f"{field.name} is {value}; a positive number is needed")

    def systole_mean_s(self, rate_bpm: Floats) -> Floats:
        """Return the mean time from S1 to S2 in s at each rate in bpm."""
        return np.maximum(self.systole_s + self.systole_s_per_bpm * rate_bpm, self.shortest_systole_s)


@dataclass(frozen=True, slots=True, eq=False)
class Lags:
    """Numbers of frames from one event to the next, for each class.

    first: int64[class], the shortest lag. share: float64[class, lag], probability of first, first + 1, ...; each row
    has the sum 1, and ends with zeros where the class has fewer lags.
    """

    first: Ints
    share: Floats

    @property
    def last(self) -> Ints:
        """Return the longest lag of each class, int64[class]."""
        width = self.share.shape[1] - np.argmax(self.share[:, ::-1] > 0, axis=1)
        return np.asarray(self.first + width - 1, dtype=np.int64)

    @property
    def mean(self) -> Floats:
        """Return the mean lag of each class in frames, float64[class]."""
        return np.asarray(self.first + self.share @ np.arange(self.share.shape[1]), dtype=np.float64)

    def survival(self, n_lags: int) -> Floats:
        """Return P(lag >= n) for n = 0 ... n_lags - 1, float64[class, n_lags]."""
        full = np.zeros((len(self.first), n_lags + int(self.last.max()) + 2))
        for row, first, share in zip(full, self.first, self.share, strict=True):
            row[first : first + share.size][: full.shape[1]] = share[: full.shape[1] - first]
        return np.asarray(np.cumsum(full[:, ::-1], axis=1)[:, ::-1][:, :n_lags], dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The prior in frames.

    rates_bpm: float64[class], ascending. start: float64[class], probability of each class when a rhythm begins.
    change: float64[class, class], from the class of a beat (row) to that of the next.
    cycle, early, pause, systole: lags from beat to beat, to an early beat, from an early beat, and from S1 to S2.
    end: lags from the last beat of a rhythm to the first frame without: one period.
    p_cycle, p_early, p_end: float64[class], probabilities of the three ways on from a beat, with the sum 1.
    p_start: probability that a beat follows a frame without rhythm.
    clutter: probability that a frame is the middle of a bump.
    sound: float64[offset], shape of a sound about its middle, 1 there; an odd number of frames.
    """

    prior: RhythmPrior
    frame_hz: float
    rates_bpm: Floats
    start: Floats
    change: Floats
    cycle: Lags
    early: Lags
    pause: Lags
    systole: Lags
    end: Lags
    p_cycle: Floats
    p_early: Floats
    p_end: Floats
    p_start: float
    clutter: float
    sound: Floats

    @property
    def shortest(self) -> int:
        """Return the fewest frames from any event of the chain to the next."""
        lags = (self.cycle, self.pause, self.end, self.early)
        return int(min(lag.first.min() for lag in lags))

    @property
    def longest(self) -> int:
        """Return the most frames from any event of the chain to the next."""
        return int(max(lag.last.max() for lag in (self.cycle, self.early, self.pause, self.end)))


def tables(prior: RhythmPrior, frame_hz: float) -> Tables:
    """Return the prior in frames of 1 / frame_hz s.

    Raises ValueError for a rate of frames that is not positive, or at which two sounds of the fastest rhythm overlap.
    """
    if not 0 < frame_hz < np.inf:
        raise ValueError(f"frame_hz is {frame_hz}; a positive number of frames per second is needed")
    periods_s = 60.0 / np.geomspace(prior.low_bpm, prior.high_bpm, prior.n_periods)
    rates_bpm = 60.0 / periods_s
    n_half = int(SOUND_CUT * prior.sound_sd_s * frame_hz)
    sound = np.exp(-0.5 * (np.arange(-n_half, n_half + 1) / (prior.sound_sd_s * frame_hz)) ** 2)
    cycle = _cycles(periods_s * frame_hz, prior.cycle_spread)
    systole = _normal(prior.systole_mean_s(rates_bpm) * frame_hz, prior.systole_sd_s * frame_hz, cycle, sound.size)
    early_first = np.maximum(np.ceil(prior.early_share[0] * periods_s * frame_hz), systole.last + sound.size)
    early_last = np.floor(prior.early_share[1] * periods_s * frame_hz)
    has_early = early_last >= early_first
    # A class without room for an early beat has a lag all the same, and no probability to use it.
    early = _uniform(
        np.where(has_early, early_first, cycle.first + 0.0), np.where(has_early, early_last, cycle.first + 0.0)
    )
    pause = _uniform(
        np.maximum(np.ceil(prior.pause_share[0] * periods_s * frame_hz), systole.last + sound.size),
        np.floor(prior.pause_share[1] * periods_s * frame_hz),
    )
    end = Lags(np.maximum(np.round(periods_s * frame_hz), cycle.first).astype(np.int64), np.ones((len(periods_s), 1)))
    p_end = np.minimum(periods_s / prior.rhythm_s, 0.5)
    p_early = np.where(has_early, prior.ectopic_share, 0.0) * (1 - p_end)
    clutter = prior.clutter_hz / frame_hz
    if clutter * sound.size >= 1:
        raise ValueError(f"clutter_hz is {prior.clutter_hz}; sounds of {sound.size / frame_hz:.3f} s would overlap")
    start = np.exp(-0.5 * (np.log(rates_bpm / prior.usual_bpm) / prior.usual_sd) ** 2)
    return Tables(
        prior=prior,
        frame_hz=frame_hz,
        rates_bpm=rates_bpm,
        start=start / start.sum(),
        change=_change(periods_s, prior.change_sd),
        cycle=cycle,
        early=early,
        pause=pause,
        systole=systole,
        end=end,
        p_cycle=1 - p_end - p_early,
        p_early=p_early,
        p_end=p_end,
        p_start=min(1 / (prior.gap_s * frame_hz), 0.5),
        clutter=clutter,
        sound=sound,
    )


def _lags(first: Floats, last: Floats, density: list[Floats]) -> Lags:
    share = np.zeros((len(first), int((last - first).max()) + 1))
    for row, values in zip(share, density, strict=True):
        row[: values.size] = values / values.sum()
    return Lags(first.astype(np.int64), share)


def _cycles(median: Floats, spread: float) -> Lags:
    """Return lags whose logarithm has Student's density about that of the median."""
    first = np.maximum(np.ceil(median * np.exp(-CYCLE_CUT * spread)), 1.0)
    last = np.maximum(np.floor(median * np.exp(CYCLE_CUT * spread)), first)
    density = []
    for low, high, middle in zip(first, last, median, strict=True):
        lag = np.arange(low, high + 1)
        deviation = np.log(lag / middle) / spread
        density.append((1 + deviation**2 / CYCLE_TAILS) ** (-(CYCLE_TAILS + 1) / 2) / lag)
    return _lags(first, last, density)


def _normal(mean: Floats, sd: float, cycle: Lags, n_sound: int) -> Lags:
    """Return lags from S1 to S2, cut so that no sound reaches into another."""
    last = np.minimum(np.floor(mean + SYSTOLE_CUT * sd), cycle.first - n_sound)
    first = np.maximum(np.ceil(mean - SYSTOLE_CUT * sd), n_sound)
    if (last < first).any():
        raise ValueError(
            f"the fastest cycle has {int(cycle.first.min())} frames, and S1 and S2 have {n_sound} each with as much "
            "between them; lower high_bpm or sound_sd_s"
        )
    density = []
    for low, high, middle in zip(first, last, mean, strict=True):
        density.append(np.exp(-0.5 * ((np.arange(low, high + 1) - middle) / sd) ** 2))
    return _lags(first, last, density)


def _uniform(first: Floats, last: Floats) -> Lags:
    first = np.maximum(first, 1.0)
    last = np.maximum(last, first)
    return _lags(first, last, [np.ones(int(n)) for n in last - first + 1])


def _change(periods_s: Floats, sd: float) -> Floats:
    """Return the probabilities from class to class: a normal step of the logarithm, with the variance it should have.

    A step of up to two classes; the shares are those of a random walk, so that the variance is right although the
    classes are further apart than a step.
    """
    n = len(periods_s)
    step = float(np.log(periods_s[0] / periods_s[1]))
    # Two half steps of -1, 0 or +1 class, each with half the variance.
    moved = min(0.5 * (sd / step) ** 2, 0.8)
    half = np.diag(np.full(n, 1 - moved)) + (np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)) * moved / 2
    half /= half.sum(axis=1, keepdims=True)
    return np.asarray(half @ half, dtype=np.float64)
