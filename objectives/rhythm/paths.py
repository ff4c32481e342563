"""Rhythms drawn from the posterior, and the heart rates that they have.

The probabilities of single frames do not say how sure a heart rate is, because the beats of a span go together. Whole
rhythms drawn from the posterior do: the share of them with a rate is the probability of that rate.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from objectives.rhythm.chain import Chain, Forward
from objectives.rhythm.durations import Floats, Ints, Lags

# States of a path: the next event to go back from.
BEAT, EARLY, NONE, DONE = range(4)
MIN_BEATS = 3


class Paths:
    """Rhythms drawn backwards, segment after segment from the last to the first."""

    def __init__(self, chain: Chain, n_paths: int, seed: int) -> None:
        self._chain, self._tables = chain, chain.tables
        self._rng = np.random.default_rng(seed)
        self._n_paths = n_paths
        self._state = np.full(n_paths, DONE)
        self._frame, self._class = np.zeros(n_paths, dtype=np.int64), np.zeros(n_paths, dtype=np.int64)
        self._beats: list[tuple[Ints, Ints]] = []
        self._entries = np.full(chain.n_frames + 1, -np.inf)
        self._entries[0] = np.log(chain.tables.prior.no_rhythm_at_start)

    def note(self, segment: Forward) -> None:
        """Keep the entries into no rhythm of a segment; needed of all segments before the first is drawn."""
        reach, start = self._chain.reach, segment.first_frame + self._chain.reach
        rows = slice(reach, reach + segment.n)
        with np.errstate(divide="ignore"):
            self._entries[start + 1 : start + 1 + segment.n] = np.log(segment.entries[rows]) + segment.none_scale[rows]

    def begin(self, last: Forward, ended: tuple[Floats, Floats]) -> None:
        """Draw the last event of each path. ended: see Backward.ended."""
        # Ways to no rhythm at a frame are the sum over its entry; the logarithm keeps all scales.
        stay = np.log1p(-self._tables.p_start)
        self._ways = np.logaddexp.accumulate(self._entries - stay * np.arange(self._entries.size))
        reach, n = self._chain.reach, last.n
        row = n + reach - 1
        scale = np.exp(last.scale[n : n + reach] - last.scale[row])
        none = last.none[row] * np.exp(last.none_scale[row] - last.scale[row])
        weights = np.concatenate([(ended[0] * scale).ravel(), (ended[1] * scale).ravel(), [none]])
        chosen = _draw(np.broadcast_to(weights, (self._n_paths, weights.size)), self._rng)
        size = ended[0].size
        self._state = np.select([chosen < size, chosen < 2 * size], [BEAT, EARLY], NONE)
        self._class = np.where(self._state == NONE, 0, (chosen % size) // reach)
        frame = self._chain.n_frames - reach + (chosen % size) % reach
        self._frame = np.where(self._state == NONE, self._chain.n_frames - 1, frame)

    def run(self, segment: Forward) -> None:
        """Go back through a segment."""
        start = segment.first_frame + self._chain.reach
        while True:
            for state, step in ((NONE, self._from_none), (EARLY, self._from_early), (BEAT, self._from_beat)):
                who = np.flatnonzero((self._state == state) & (self._frame >= start))
                if who.size:
                    if state != NONE:
                        self._beats.append((who, self._frame[who]))
                    step(segment, who)
            self._state[(self._frame < 0) & (self._state != DONE)] = DONE
            if not ((self._state != DONE) & (self._frame >= start)).any():
                return

    def _from_none(self, segment: Forward, who: Ints) -> None:
        """Go from no rhythm to the last beat before it."""
        frame = self._frame[who]
        level = np.log(self._rng.random(who.size)) + self._ways[frame + 1]
        entry = np.minimum(np.searchsorted(self._ways, level), frame + 1) - 1
        self._state[who[entry < 0]] = DONE
        who, entry = who[entry >= 0], entry[entry >= 0]
        # An entry in an earlier segment waits there, as no rhythm that is entered at its frame.
        is_here = entry >= segment.first_frame + self._chain.reach
        self._frame[who[~is_here]] = entry[~is_here]
        who, entry = who[is_here], entry[is_here]
        if not who.size:
            return
        first = self._tables.end.first[None, :]
        row = entry[:, None] - first - segment.first_frame
        weights = self._tables.p_end * segment.beats[np.arange(first.size)[None, :], row]
        weights = weights * np.exp(segment.scale[row] - segment.scale[row].max(axis=1, keepdims=True))
        self._class[who] = _draw(weights, self._rng)
        self._frame[who] = entry - self._tables.end.first[self._class[who]]
        self._state[who] = BEAT

    def _from_early(self, segment: Forward, who: Ints) -> None:
        self._go_back(segment, who, segment.beats, self._tables.early)
        self._state[who] = BEAT

    def _from_beat(self, segment: Forward, who: Ints) -> None:
        """Go from a beat to the beat, the early beat or the last frame without rhythm before it."""
        tables, n_classes = self._tables, len(self._tables.rates_bpm)
        row, after = self._frame[who] - segment.first_frame, self._class[who]
        changed = tables.change[:, after].T
        begun = tables.p_start * tables.start[after] * segment.before[row]
        ways = [segment.by_cycle[:, row].T * changed, segment.by_pause[:, row].T * changed, begun[:, None]]
        chosen = _draw(np.concatenate(ways, axis=1), self._rng)
        self._class[who] = chosen % n_classes
        by_cycle, by_pause = chosen < n_classes, (chosen >= n_classes) & (chosen < 2 * n_classes)
        begins = who[chosen == 2 * n_classes]
        self._frame[begins] -= 1
        self._state[begins] = np.where(self._frame[begins] < 0, DONE, NONE)
        self._go_back(segment, who[by_cycle], segment.beats, tables.cycle)
        self._go_back(segment, who[by_pause], segment.early, tables.pause)
        self._state[who[by_pause]] = EARLY

    def _go_back(self, segment: Forward, who: Ints, values: Floats, lags: Lags) -> None:
        """Go to an event before, of the class of each path."""
        if not who.size:
            return
        classes = self._class[who]
        lag = lags.first[classes][:, None] + np.arange(lags.share.shape[1])[None, :]
        # Beyond the last lag of a class the share is 0, and the row may be outside.
        row = np.maximum(self._frame[who][:, None] - lag - segment.first_frame, 0)
        scale = segment.scale[row]
        weights = lags.share[classes] * values[classes[:, None], row] * np.exp(scale - scale.max(axis=1, keepdims=True))
        self._frame[who] -= lag[np.arange(who.size), _draw(weights, self._rng)]

    def beats(self) -> list[Ints]:
        """Return the frames of the beats of each path, ascending."""
        paths = np.concatenate([np.empty(0, np.int64), *(who for who, _ in self._beats)])
        frames = np.concatenate([np.empty(0, np.int64), *(frame for _, frame in self._beats)])
        order = np.lexsort((frames, paths))
        bounds = np.searchsorted(paths[order], np.arange(1, self._n_paths))
        return np.split(frames[order], bounds)


def _draw(weights: Floats, rng: np.random.Generator) -> Ints:
    """Return an index for each row of weights[row, choice], with the probability of its weight."""
    sums = np.cumsum(weights, axis=1)
    level = rng.random(len(sums)) * sums[:, -1]
    return np.asarray((sums <= level[:, None]).sum(axis=1).clip(max=weights.shape[1] - 1), dtype=np.int64)


def span_rates(paths: list[Ints], bounds_s: Floats, frame_hz: float) -> Floats:
    """Return the rate of each path in each span in bpm, from the median cycle: float64[path, span].

    It is NaN where a path has fewer than three beats in a span. bounds_s: float64[span + 1], ascending.
    """
    rates_bpm = np.full((len(paths), len(bounds_s) - 1), np.nan)
    for row, frames in zip(rates_bpm, paths, strict=True):
        edges = np.searchsorted(frames / frame_hz, bounds_s)
        cycles_s = np.diff(frames) / frame_hz
        for span, (first, last) in enumerate(pairwise(edges.tolist())):
            if last - first >= MIN_BEATS:
                row[span] = 60.0 / _median(cycles_s[first : last - 1])
    return rates_bpm


def _median(values: Floats) -> float:
    """Return the median, as numpy.median does; it takes a fiftieth of the time for a few values."""
    ordered = sorted(values.tolist())
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else float(ordered[middle - 1] + ordered[middle]) / 2


def surest_rate(rates_bpm: Floats, within_bpm: float) -> tuple[float, float]:
    """Return the rate with the most of rates_bpm[path] within +-within_bpm, and the share of all paths that are.

    It is the middle of those rates; NaN and 0 where no path has a rate.
    """
    known = np.sort(rates_bpm[np.isfinite(rates_bpm)])
    if not known.size:
        return float("nan"), 0.0
    ends = np.searchsorted(known, known + 2 * within_bpm)
    first = int(np.argmax(ends - np.arange(known.size)))
    chosen = known[first : ends[first]]
    # The median is nearest to most of them, and the share is that of the rate that is returned.
    rate_bpm = float(np.median(chosen))
    near: NDArray[np.bool_] = np.abs(known - rate_bpm) < within_bpm
    return rate_bpm, float(near.sum() / rates_bpm.size)
