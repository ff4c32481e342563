"""The backward pass, which meets the forward pass in the posterior of each frame.

It runs in reversed time: its rows are those of the forward pass, last to first, after `reach` rows of the time behind
the segment. So events after a frame are before it, and the lags are those of the forward pass.
"""

from dataclasses import dataclass

import numpy as np

from objectives.rhythm.chain import LARGE, Chain, Forward, frames_of
from objectives.rhythm.durations import Floats, Ints
from objectives.rhythm.lags import REBASE_BLOCKS, LagSums, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Probabilities of each frame given the whole recording, float64[frame].

    beat: the middle of a beat's S1 is here, heard or not. s1, s2: the middle of a sound that is heard is here.
    none: there is no rhythm here. log_bayes: log-likelihood of the recording against no rhythm throughout.
    """

    beat: Floats
    s1: Floats
    s2: Floats
    none: Floats
    log_bayes: float


class Backward:
    """The backward pass of a recording, segment after segment from the last to the first."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._tables = chain, chain.tables
        self._beat, self._s2, self._none = (np.zeros(chain.n_frames) for _ in range(3))
        # The rows after the segment, reversed: nothing follows the recording.
        n_classes = len(chain.tables.rates_bpm)
        self._beats, self._early = (np.zeros((n_classes, chain.reach)) for _ in range(2))
        self._free, self._log_scale, self._began = np.zeros(chain.reach), 0.0, 0.0
        self._log_total: float | None = None
        tables, n = self._tables, chain.reach + 1
        self._survival = (
            tables.p_cycle[:, None] * tables.cycle.survival(n)
            + tables.p_early[:, None] * tables.early.survival(n)
            + tables.p_end[:, None] * tables.end.survival(n)
        )
        self._pause_survival = tables.pause.survival(n)

    def ended(self, segment: Forward) -> tuple[Floats, Floats]:
        """Return the ways that end with each beat and each early beat of the last `reach` frames of the last segment.

        float64[class, row]; no next event is in the recording.
        """
        left = np.arange(self._chain.reach, 0, -1)
        last = slice(segment.n, segment.n + self._chain.reach)
        return segment.beats[:, last] * self._survival[:, left], segment.early[:, last] * self._pause_survival[:, left]

    def run(self, segment: Forward) -> None:
        """Pass over a segment; the first call takes the last segment."""
        chain, tables = self._chain, self._tables
        reach, block = chain.reach, chain.block
        if self._log_total is None:
            self._log_total = self._total(segment)
        n_rows, n_classes = segment.scale.size, len(tables.rates_bpm)
        # In the first segment the rows before the recording are passed as well: S2 of a beat there may be in it.
        n_passed = n_rows if segment.first_frame < 0 else n_rows - reach
        lags = LagSums(tables, block, reach, reach + n_rows)
        beats, early = (Rows(n_classes, reach + n_rows, block, before) for before in (self._beats, self._early))
        after, paused = (np.zeros((n_classes, n_rows)) for _ in range(2))
        free, none, scale = np.zeros(reach + n_rows), np.zeros(n_rows), np.zeros(n_rows)
        free[:reach] = self._free
        log_scale, began_before = self._log_scale, self._began
        at_beat, at_early = segment.at_beat[:, ::-1], segment.at_early[:, ::-1]
        stay, kept = chain.staying()
        p_end, nothing = tables.p_end[:, None], np.zeros((n_classes, block))
        last_left = chain.n_frames - segment.first_frame - n_rows + 1
        for count, row in enumerate(range(0, n_passed, block)):
            here, at, end = slice(row, row + block), reach + row, reach + row + block
            follows = lags.cycle(at, beats) + lags.early(at, early) + p_end * lags.end_of(at, free)
            pauses = lags.pause(at, beats)
            left = last_left + row + np.arange(block)
            if left[0] <= reach:
                self._finish(follows, pauses, left, float(np.exp(-log_scale)))
            after[:, here], paused[:, here], scale[here] = follows, pauses, log_scale
            if row >= n_rows - reach:  # No beat comes there: it belongs to the state before the recording.
                beats.write(at, nothing)
                early.write(at, nothing)
                continue
            weighted = follows * at_beat[:, here]
            beats.write(at, tables.change @ weighted)
            early.write(at, pauses * at_early[:, here])
            began = tables.p_start * (tables.start @ weighted)
            ways = np.append(began_before, began[:-1])
            if left[0] <= 1 <= left[-1]:
                ways[left == 1] = np.exp(-log_scale)
            none[here] = free[at:end] = kept @ ways + stay * free[at - 1]
            began_before = float(began[-1])
            largest = max(float(beats.values[:, at:end].max()), float(free[at:end].max()))
            if largest > LARGE or 0 < largest < 1 / LARGE:
                for rows in (beats, early):
                    rows.divide(end - reach, end, largest)
                free[end - reach : end] /= largest
                began_before /= largest
                log_scale += float(np.log(largest))
            elif not count % REBASE_BLOCKS:
                for rows in (beats, early):
                    rows.rebase(end - reach, end)
        self._keep(segment, after[:, ::-1], paused[:, ::-1], none[::-1], scale[::-1] - self._log_total)
        last = slice(n_rows - reach, n_rows)
        self._beats, self._early = beats.values[:, last].copy(), early.values[:, last].copy()
        self._free, self._log_scale, self._began = free[last].copy(), log_scale, began_before

    def posterior(self) -> Posterior:
        """Return the posterior, after all segments."""
        evidence = self._chain.evidence
        beat = np.clip(self._beat, 0.0, 1.0)
        s2 = np.clip(self._s2 * evidence.s2, 0.0, 1.0)
        return Posterior(beat, beat * evidence.s1_heard, s2, np.clip(self._none, 0.0, 1.0), self._log_total or 0.0)

    def _total(self, last: Forward) -> float:
        """Return the logarithm of the sum over all ways through the recording."""
        row = last.n + self._chain.reach - 1
        scale = last.scale[last.n : row + 1]
        sums = np.sum([ended.sum(axis=0) for ended in self.ended(last)], axis=0)
        highest = max(float(scale.max()), float(last.none_scale[row]))
        total = float(sums @ np.exp(scale - highest)) + float(last.none[row] * np.exp(last.none_scale[row] - highest))
        return highest + float(np.log(total))

    def _finish(self, follows: Floats, pauses: Floats, left: Ints, unit: float) -> None:
        """Add the end of the recording, `left` frames after each frame of a block; nothing is beyond it."""
        at = np.clip(left, 0, self._chain.reach)
        weight = np.where((left > 0) & (left <= self._chain.reach), unit, 0.0)
        for values, survival in ((follows, self._survival), (pauses, self._pause_survival)):
            values[:] = np.where(left > 0, values, 0.0) + weight * survival[:, at]

    def _keep(self, segment: Forward, after: Floats, paused: Floats, none: Floats, log_factor: Floats) -> None:
        """Add a segment to the posterior: ways to each event times ways on from it, over the sum of all ways."""
        reach, lags, prior = self._chain.reach, self._tables.systole, self._tables.prior
        rows = slice(reach, reach + segment.n)
        frames = slice(segment.first_frame + reach, segment.first_frame + reach + segment.n)
        self._none[frames] = (segment.none * none * np.exp(segment.none_scale + log_factor))[rows]
        joint = np.exp(segment.scale + log_factor)
        s1 = frames_of(self._chain.evidence.s1, segment.first_frame, joint.size)
        beat, sounds = np.zeros(joint.size), np.zeros(joint.size + int(lags.last.max()) + lags.share.shape[1])
        for k, (first, share) in enumerate(zip(lags.first, lags.share, strict=True)):
            at_beat, at_early = segment.beats[k] * after[k] * joint, segment.early[k] * paused[k] * joint
            beat += at_beat + at_early
            # The part with S2, over the evidence of that S2, which is multiplied at its frame.
            with_s2 = (1 - prior.missed_s2) * at_beat / segment.at_beat[k]
            with_s2 += (1 - prior.missed_s2_early) * at_early / segment.at_early[k]
            used = np.trim_zeros(share, "b")
            sounds[first : first + joint.size + used.size - 1] += np.convolve(with_s2 * s1, used)
        self._beat[frames] = beat[rows]
        begin, end = max(0, segment.first_frame), min(self._chain.n_frames, segment.first_frame + sounds.size)
        self._s2[begin:end] += sounds[begin - segment.first_frame : end - segment.first_frame]
