"""Sums over the lags from a block of frames back to events before it, and rows with running sums for them."""

import numpy as np

from objectives.rhythm.durations import Floats, Ints, Lags, Tables

# Running sums begin anew after so many blocks, so that they stay near the size of the sums that are taken from them.
REBASE_BLOCKS = 16


class Rows:
    """Values [class, row] that are written block by block, with their running sums. Both are scaled together."""

    def __init__(self, n_classes: int, n_rows: int, block: int, before: Floats) -> None:
        """Begin with the rows `before`, [class, row]. Values get one row more than needed, as their sums have."""
        n_before = before.shape[1]
        self.values, self.sums = np.zeros((n_classes, n_rows + 1)), np.zeros((n_classes, n_rows + 1))
        self.values[:, :n_before] = before
        np.cumsum(before, axis=1, out=self.sums[:, 1 : n_before + 1])
        # A product is faster than numpy's running sum over short rows.
        self._running = np.triu(np.ones((block, block)))

    def write(self, row: int, values: Floats) -> None:
        """Write the values of the block that begins at a row."""
        end = row + values.shape[1]
        self.values[:, row:end] = values
        self.sums[:, row + 1 : end + 1] = values @ self._running + self.sums[:, row : row + 1]

    def divide(self, first: int, last: int, by: float) -> None:
        """Divide the rows from `first` to last - 1."""
        self.values[:, first:last] /= by
        self.rebase(first, last)
        self.sums[:, first : last + 1] /= by

    def rebase(self, first: int, last: int) -> None:
        """Begin the running sums anew at `first`."""
        self.sums[:, first : last + 1] -= self.sums[:, first : first + 1].copy()


class LagSums:
    """Sums for all frames of a block at once, in Rows of one length.

    Places are counted from the first row that a block needs, which is `reach` rows before it.
    """

    def __init__(self, tables: Tables, block: int, reach: int, n_rows: int) -> None:
        self._reach = reach
        share = tables.p_cycle[:, None] * tables.cycle.share[:, ::-1]
        n_classes, n_lags = share.shape
        # One matrix [frame, window] a class: products of matrices are the fastest way.
        self._cycle = np.zeros((n_classes, block, block + n_lags - 1))
        for frame in range(block):
            self._cycle[:, frame, frame : frame + n_lags] = share
        offset = np.arange(n_classes)[:, None] * (n_rows + 1)
        frames = reach + np.arange(block)[None, :]
        window = reach - tables.cycle.first[:, None] - n_lags + 1 + np.arange(block + n_lags - 1)[None, :]
        # The longest lags of most classes have no probability, and may lie before the first row.
        self._at_cycle = offset + np.maximum(window, 0)
        self._end = frames - tables.end.first[:, None]
        self._at_end = offset + self._end
        self._at_pause, self._at_early = (_bounds(lags, frames, offset) for lags in (tables.pause, tables.early))
        self._pause, self._early = tables.pause.share[:, :1], tables.p_early[:, None] * tables.early.share[:, :1]

    def cycle(self, row: int, beats: Rows) -> Floats:
        """Return the sum over beats a cycle before each frame, with its probability, float64[class, frame]."""
        window = beats.values.reshape(-1)[row - self._reach :].take(self._at_cycle)
        return np.asarray((self._cycle @ window[:, :, None])[:, :, 0], dtype=np.float64)

    def pause(self, row: int, early: Rows) -> Floats:
        """Return the sum over early beats a pause before each frame."""
        return self._even(row, early, self._at_pause) * self._pause

    def early(self, row: int, beats: Rows) -> Floats:
        """Return the sum over beats before each frame, if it is early, with its probability."""
        return self._even(row, beats, self._at_early) * self._early

    def end(self, row: int, beats: Rows) -> Floats:
        """Return the last beat of each class before a frame without rhythm, float64[class, frame]."""
        return np.asarray(beats.values.reshape(-1)[row - self._reach :].take(self._at_end), dtype=np.float64)

    def end_of(self, row: int, values: Floats) -> Floats:
        """Return values[row] that all classes share at the same place, float64[class, frame]."""
        return np.asarray(values[row - self._reach :].take(self._end), dtype=np.float64)

    def _even(self, row: int, rows: Rows, places: tuple[Ints, Ints]) -> Floats:
        sums = rows.sums.reshape(-1)[row - self._reach :]
        # Running sums are rounded: a difference may be a little below zero.
        return np.maximum(sums.take(places[0]) - sums.take(places[1]), 0.0)


def _bounds(lags: Lags, frames: Ints, offset: Ints) -> tuple[Ints, Ints]:
    """Return the places of the running sums after the nearest and before the furthest event."""
    return offset + frames - lags.first[:, None] + 1, offset + frames - lags.last[:, None]
