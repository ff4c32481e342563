"""From rows as they come to samples at an even rate: gaps are filled, what is missing is held, late rows left out.

A held value is silence for the band-pass. So the clock of the estimate goes on as that of the sensor does.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError
from training.live.rows import Notes, Rows

RATE_FROM_S = 1.0
RATE_FROM_ROWS = 50
OTHER_RATE = 0.02  # relative difference from which on two rates are not the same
SLACK_S = 0.02  # of a time about its place on the even clock
DRAWN_S = 0.05  # gaps up to this are filled by a line, longer ones are held
LONGEST_GAP_S = 60.0
UNPLUGGED_S = 2.0  # of equal or missing values
PIECE_S = 0.5  # given at once, so that what is known of the channels is of that time
MOST_WAITING = 100_000  # rows without a rate
JITTERED = 0.2  # share of the usual step that a step may differ by; gaps are told by more where steps vary
LARGEST = 1e15  # squares of larger values have no sums in float32

Floats = NDArray[np.float64]


class Intake:
    """The samples of `names` at an even rate.

    rate_hz: None until the times tell it.
    """

    def __init__(self, names: tuple[str, ...], rate_hz: float | None, notes: Notes) -> None:
        """Prepare. rate_hz: as stated; None takes that of the times.

        Raises ConfigError for a rate that is not positive.
        """
        if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ConfigError(f"rate_hz is {rate_hz}; a positive number of Hz is needed")
        self.names, self._stated, self.notes = names, rate_hz, notes
        self.rate_hz: float | None = None
        self.n_samples = 0
        self._waiting: list[Rows] = []
        self._zero_s: float | None = None  # the time of sample 0 of the even clock
        self._last = np.full(len(names), np.nan)
        self._still = np.zeros(len(names), np.int64)
        self._gone = np.zeros(len(names), bool)
        self._packet = 1  # rows of one time

    def feed(self, rows: Rows) -> Iterator[Floats]:
        """Yield samples float64[channel, time], all finite.

        Raises ConfigError if the rate is neither stated nor told by times.
        """
        if not rows.values.shape[1]:
            return
        if self.rate_hz is None:
            if rows.time_s is None:
                if self._stated is None:
                    raise ConfigError("the samples have no times, and no rate is stated; give --rate-hz")
                self.rate_hz = self._stated
            else:
                self._waiting.append(rows)
                self._find_rate()
                if self.rate_hz is None:
                    return
                rows, self._waiting = _joined(self._waiting), []
        yield from self._placed(rows)

    def end(self) -> Iterator[Floats]:
        """Yield what waits for a rate, at the one that there is.

        Raises ConfigError if more rows were left out as late than taken.
        """
        if self.rate_hz is None and self._waiting:
            self._find_rate(at_end=True)
            if self.rate_hz is not None:
                rows, self._waiting = _joined(self._waiting), []
                yield from self._placed(rows)
        n_late = self.notes.counts["late"]
        if n_late > self.n_samples:
            raise ConfigError(
                f"{n_late} of {n_late + self.n_samples} rows came late or twice, so the times do not fit "
                f"{self.rate_hz:g} Hz; mend the times, or send the samples without them and give --rate-hz"
            )

    def _find_rate(self, at_end: bool = False) -> None:
        times = np.concatenate([rows.time_s for rows in self._waiting if rows.time_s is not None])
        steps = np.diff(times)
        rising = steps[steps > 0]
        is_long = len(rising) >= RATE_FROM_ROWS and times[-1] - times[0] >= RATE_FROM_S
        if not (is_long or at_end or len(times) > MOST_WAITING):
            return
        if not len(rising):
            if self._stated is None:
                raise ConfigError("the times do not rise, so they tell no rate; give --rate-hz")
            self.rate_hz = self._stated
            return
        # The mean over the steps that are no gaps, with those of 0 s, as times may be rounded or those of packets.
        usual = float(np.median(rising))
        rises = np.flatnonzero(steps > 0)
        self._packet = int(min(np.diff(rises, prepend=-1).max(), len(steps) / 2))
        steps = steps[: rises[-1] + 1]  # the last packet may not be whole
        steps = steps[steps >= 0]
        is_even = float(np.mean(np.abs(steps - usual) > JITTERED * usual)) < 0.1
        found_hz = 1.0 / float(np.mean(steps[steps < (1.5 if is_even else 2.5) * usual]))
        if self._stated is None:
            self.rate_hz = float(round(found_hz)) if abs(found_hz / max(1, round(found_hz)) - 1) < 0.002 else found_hz
        elif abs(found_hz / self._stated - 1) > OTHER_RATE:
            self.rate_hz = float(round(found_hz)) if found_hz > 10 else found_hz
            self.notes.say(f"the times say {found_hz:.4g} Hz, --rate-hz {self._stated:g}; {self.rate_hz:g} Hz is taken")
        else:
            self.rate_hz = self._stated

    def _placed(self, rows: Rows) -> Iterator[Floats]:
        """Yield the rows at their places on the even clock."""
        assert self.rate_hz is not None
        piece = max(1, round(PIECE_S * self.rate_hz))
        if rows.time_s is None:
            for start in range(0, rows.values.shape[1], piece):
                yield self._held(rows.values[:, start : start + piece])
            return
        rate_hz, times, values = self.rate_hz, rows.time_s, rows.values
        slack = max(1.5, SLACK_S * rate_hz, 1.0 + self._packet)
        while len(times):
            if self._zero_s is None:
                self._zero_s = float(times[0]) - self.n_samples / rate_hz
            ahead = (times - self._zero_s) * rate_hz - (self.n_samples + np.arange(len(times)))
            off = np.flatnonzero(np.abs(ahead) > slack)
            n = min(piece, int(off[0]) if len(off) else len(times))
            if n:
                yield self._held(values[:, :n])
                times, values = times[n:], values[:, n:]
                continue
            missing = round(float(ahead[0]))
            if missing < 0:
                if -missing <= LONGEST_GAP_S * rate_hz:
                    self.notes.once("late", f"{self._at}: a row is late or came before; such rows are left out")
                    times, values = times[1:], values[:, 1:]
                    continue
                self.notes.say(f"{self._at}: the clock went back; it is taken on from here")
                self._zero_s = None
            elif missing > LONGEST_GAP_S * rate_hz:
                self.notes.say(f"{self._at}: the clock jumps by {missing / rate_hz:.0f} s; it is taken on from here")
                self._zero_s = None
            else:
                seconds = missing / rate_hz
                self.notes.once("gap", f"{self._at}: {seconds:.3f} s are missing; such gaps are filled", missing)
                yield self._filled(missing, values[:, 0])

    @property
    def _at(self) -> str:
        return f"at {self.n_samples / (self.rate_hz or 1.0):.2f} s"

    def _filled(self, n: int, after: Floats) -> Floats:
        """Return `n` samples for a gap before the values `after`."""
        assert self.rate_hz is not None
        if n <= DRAWN_S * self.rate_hz and np.isfinite(after).all() and np.isfinite(self._last).all():
            share = np.arange(1, n + 1) / (n + 1)
            return self._held(self._last[:, None] * (1 - share) + after[:, None] * share)
        return self._held(np.full((len(self.names), n), np.nan), silent=True)

    def _held(self, values: Floats, silent: bool = False) -> Floats:
        """Return values with the last finite one in place of what is missing, and note channels that come and go."""
        n = values.shape[1]
        out = np.array(values, np.float64)
        bad = ~(np.abs(out) < LARGEST)
        # A channel without any value is one that is not there, which is said by itself.
        is_there = ~self._gone & ~bad.all(axis=1)
        if not silent and (wrong := int(bad[is_there].sum())):
            self.notes.once(
                "missing", f"{self._at}: values that are missing or no numbers; the last one is held", wrong
            )
        for row, name in enumerate(self.names):
            self._watch(row, name, out[row], bad[row])
        self.n_samples += n
        return out

    def _watch(self, row: int, name: str, samples: Floats, bad: NDArray[np.bool_]) -> None:
        """Hold the last value where a channel has none, in place, and say when it is gone and when it is back."""
        assert self.rate_hz is not None
        if bad.any():
            good = np.flatnonzero(~bad)
            before = np.searchsorted(good, np.arange(len(samples)), side="right") - 1
            start = self._last[row] if math.isfinite(self._last[row]) else (samples[good[0]] if len(good) else 0.0)
            samples[:] = np.where(before >= 0, samples[good[np.maximum(before, 0)]] if len(good) else start, start)
        last = self._last[row] if math.isfinite(self._last[row]) else math.nan
        changes = np.flatnonzero(np.diff(samples, prepend=last) != 0)
        moves = len(changes) > 0
        if moves and self._gone[row]:
            self._gone[row] = False
            self.notes.say(f"{self._at}: channel {name} is back")
        self._still[row] = len(samples) - changes[-1] if moves else self._still[row] + len(samples)
        if self._still[row] >= UNPLUGGED_S * self.rate_hz and not self._gone[row]:
            self._gone[row] = True
            self.notes.say(f"{self._at}: channel {name} has no signal; is the sensor connected? It is taken as silent")
        self._last[row] = samples[-1]

    @property
    def is_gone(self) -> bool:
        """Return whether the channel to denoise has no signal."""
        return bool(self._gone[0])


def _joined(parts: list[Rows]) -> Rows:
    times = np.concatenate([rows.time_s for rows in parts if rows.time_s is not None])
    return Rows(times, np.concatenate([rows.values for rows in parts], axis=1))
