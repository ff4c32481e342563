"""The forward pass over the chain of beats.

The events of the chain are beats (S1) of a class of period, early beats, and frames without rhythm. No event follows
another sooner than the shortest lag of all, so a block of that many frames depends on frames before the block alone
and is computed at once. All is relative to no rhythm, see sounds.py. Every row has a scale, so no number overflows.

A recording is processed in segments of SEGMENT_S, so that memory is of the order of frames + classes * frames of a
segment. All segments but the last are passed forwards twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from objectives.rhythm.durations import Floats, Tables
from objectives.rhythm.lags import REBASE_BLOCKS, LagSums, Rows
from objectives.rhythm.sounds import Sounds

SEGMENT_S = 720.0
# Rows are scaled anew when a number exceeds this. Within the longest lag numbers change by far less.
LARGE = 1e60


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
    """The last rows of a forward pass, see Forward. They have one scale; none: no rhythm at the last row, on it."""

    beats: Floats
    early: Floats
    log_scale: float
    none: float


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """The forward pass of n frames. Frame t has the row t - first_frame of all arrays; the first rows are those before.

    A number is the sum over all ways to an event, with their evidence, times exp(-scale) of its row.

    beats, early: ways to a beat (an early beat) of each class and the evidence of its S2, float64[class, row].
    by_cycle, by_pause: the part that comes from a beat (an early beat) of each class, before the change of class.
    before: no rhythm at the frame before, float64[row]. These three share a scale, which is not kept.
    none, entries: ways to no rhythm, and those that enter it at this frame, float64[row], times exp(-none_scale).
    at_beat, at_early: evidence of S1 and S2 of a beat (an early beat) at the frame, float64[class, row].
    """

    first_frame: int
    n: int
    beats: Floats
    early: Floats
    scale: Floats
    by_cycle: Floats
    by_pause: Floats
    before: Floats
    none: Floats
    entries: Floats
    none_scale: Floats
    at_beat: Floats
    at_early: Floats
    carry: Carry


class Chain:
    """The chain of one recording: its evidence, the prior in frames, and the forward pass.

    block: frames computed at once. reach: frames before a block that it depends on, a multiple of `block`.
    """

    def __init__(self, evidence: Sounds, tables: Tables) -> None:
        self.evidence, self.tables = evidence, tables
        self.n_frames = evidence.s1.size
        self.block = tables.shortest
        self.reach = -(-tables.longest // self.block) * self.block
        self._segment = -(-int(SEGMENT_S * tables.frame_hz) // self.block) * self.block
        self._segment = max(self._segment, self.reach)

    def segments(self, note: Callable[[Forward], None]) -> Iterator[Forward]:
        """Yield the forward passes of the segments, last to first. note: called for each before, first to last."""
        starts = range(0, self.n_frames, self._segment)
        carries = [self._initial()]
        for start in starts[:-1]:
            carries.append(self._noted(start, carries[-1], note).carry)
        yield self._noted(starts[-1], carries[-1], note)
        for start, carry in zip(reversed(starts[:-1]), reversed(carries[:-1]), strict=True):
            yield self._forward(start, carry)

    def _noted(self, start: int, carry: Carry, note: Callable[[Forward], None]) -> Forward:
        segment = self._forward(start, carry)
        note(segment)
        return segment

    def _initial(self) -> Carry:
        """Return the state before the first frame: no rhythm, or a rhythm whose last beat was at any time before.

        A rhythm of a class with a mean lag m had its last beat d frames ago, and has the next after r >= d frames, with
        the probability P(r) / m, as a rhythm that has always been.
        """
        tables, none = self.tables, self.tables.prior.no_rhythm_at_start
        mean = tables.p_cycle * tables.cycle.mean + tables.p_early * tables.early.mean + tables.p_end * tables.end.mean
        rows = ((1 - none) * tables.start / mean)[:, None] * self._evidence(-self.reach, self.reach)[0]
        return Carry(rows, np.zeros_like(rows), 0.0, none)

    def _evidence(self, start: int, n: int) -> tuple[Floats, Floats]:
        """Return the evidence of S1 and S2 of a beat, and of an early beat, at n frames from `start`."""
        lags, prior = self.tables.systole, self.tables.prior
        s1 = frames_of(self.evidence.s1, start, n)
        s2 = frames_of(self.evidence.s2, start, n + int(lags.last.max()))
        rows = np.empty((len(lags.first), n))
        for row, first, share in zip(rows, lags.first, lags.share, strict=True):
            used = np.trim_zeros(share, "b")
            row[:] = np.convolve(s2[first : first + n + used.size - 1], used[::-1], mode="valid")
        both = [s1 * (missed + (1 - missed) * rows) for missed in (prior.missed_s2, prior.missed_s2_early)]
        return both[0], both[1]

    def _forward(self, start: int, carry: Carry) -> Forward:
        tables, block, reach = self.tables, self.block, self.reach
        n, n_classes = min(self._segment, self.n_frames - start), len(tables.rates_bpm)
        n_rows = reach + -(-n // block) * block
        lags = LagSums(tables, block, reach, n_rows)
        beats, early = (Rows(n_classes, n_rows, block, before) for before in (carry.beats, carry.early))
        by_cycle, by_pause = (np.zeros((n_classes, n_rows)) for _ in range(2))
        none, before, entries, none_scale = (np.zeros(n_rows) for _ in range(4))
        scale = np.full(n_rows, carry.log_scale)
        log_scale, none_before = carry.log_scale, carry.none
        at_beat, at_early = self._evidence(start - reach, n_rows)
        stay, kept = self.staying()
        change = np.ascontiguousarray(tables.change.T)
        p_begin = tables.p_start * tables.start[:, None]
        for count, row in enumerate(range(reach, n_rows, block)):
            end = row + block
            cycles, pauses = lags.cycle(row, beats), lags.pause(row, early)
            entered = tables.p_end @ lags.end(row, beats)
            free = kept @ entered + stay * none_before
            before[row], before[row + 1 : end] = none_before, free[:-1]
            early.write(row, lags.early(row, beats) * at_early[:, row:end])
            ways = (change @ (cycles + pauses) + p_begin * before[row:end]) * at_beat[:, row:end]
            beats.write(row, ways)
            by_cycle[:, row:end], by_pause[:, row:end] = cycles, pauses
            none[row:end], entries[row:end], scale[row:end], none_scale[row:end] = free, entered, log_scale, log_scale
            none_before = float(free[-1])
            largest = max(float(ways.max()), none_before)
            if largest > LARGE or 0 < largest < 1 / LARGE:  # the latter in hours without a rhythm
                for rows in (beats, early):
                    rows.divide(end - reach, end, largest)
                scale[end - reach : end] += np.log(largest)
                none_before /= largest
                log_scale += float(np.log(largest))
            elif not count % REBASE_BLOCKS:
                for rows in (beats, early):
                    rows.rebase(end - reach, end)
        last = slice(n, n + reach)
        after = Carry(beats.values[:, last].copy(), early.values[:, last].copy(), log_scale, none_before)
        return Forward(
            first_frame=start - reach,
            n=n,
            beats=beats.values[:, :n_rows],
            early=early.values[:, :n_rows],
            scale=scale,
            by_cycle=by_cycle,
            by_pause=by_pause,
            before=before,
            none=none,
            entries=entries,
            none_scale=none_scale,
            at_beat=at_beat,
            at_early=at_early,
            carry=after,
        )

    def staying(self) -> tuple[Floats, Floats]:
        """Return the probabilities to stay without rhythm: to each frame of a block from before it, and within it."""
        stay = 1 - self.tables.p_start
        lag = np.subtract.outer(np.arange(self.block), np.arange(self.block))
        return stay ** np.arange(1.0, self.block + 1), np.tril(stay ** np.maximum(lag, 0).astype(np.float64))


def frames_of(values: Floats, start: int, n: int) -> Floats:
    """Return n values from frame `start`; frames outside the recording have the evidence 1."""
    found = np.ones(n)
    first, last = max(start, 0), max(min(start + n, values.size), max(start, 0))
    found[first - start : last - start] = values[first:last]
    return found
