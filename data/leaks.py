"""Find recordings by which a model would be scored on what it has learnt: groups and signals in two splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import fft, ifft
from scipy.ndimage import uniform_filter1d

from data.corpus import Corpus, Segment
from data.readers.contents import listing
from data.recording import Signal

NEAR = 0.9  # correlation of two signals that are held for the same; noise 7 dB below a copy leaves this much
# A steady tone, as of mains hum, resembles any other of its frequency at every lag; a copy does at one lag.
STEADY = 0.5
EXCERPT_S = 10.0
EXCERPT_SHARE = 0.5  # of a short recording; the rest are lags at which a copy can lie
MIN_EXCERPT_S = 3.0
MAX_RECORDINGS = 200  # of a role; the number of comparisons grows with the square
LEVEL_S = 1.0  # levels are made equal over this time, so that no single click decides
RATE_HZ = 125.0  # enough for the heart's band
BLOCK = 8192  # samples of a Fourier transform
SHOWN_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Leaks:
    """Texts for the user, a line each.

    warnings: what lies in two splits. notes: what was not looked for.
    """

    warnings: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """A recording at about RATE_HZ with equal levels, and the excerpt that is looked for in others.

    excerpt: its conjugated spectrum of positive frequencies, scaled so that it and its double have a correlation of 1.
    """

    use: str
    segment: Segment
    samples: Signal
    excerpt: NDArray[np.complex64]
    n_excerpt: int


def find_leaks(corpus: Corpus) -> Leaks:
    """Find groups, parts of one recording and nearly equal signals in two splits.

    Two signals are nearly equal if an excerpt of one has a correlation above NEAR with a part of the other, both in the
    heart's band: copies at another level, rate or polarity, shifted in time, or with noise added. Recordings of the
    same role are compared, excerpts of 10 s (half of shorter recordings) around the loudest part.
    """
    warnings, notes = [*_groups(corpus), *_parts(corpus)], []
    for role in ("clean", "noise"):
        found = [(use, segment) for use, split in corpus.splits.items() for segment in getattr(split, role)]
        if len(found) > MAX_RECORDINGS:
            notes.append(
                f"{len(found)} {role} recordings are not compared with each other, as more than {MAX_RECORDINGS} take "
                "long; copies at another level or time are not found"
            )
            continue
        pairs = near_pairs(found, corpus.config.rate_hz)
        warnings += [
            f"{one} and {other}: nearly the same signal (correlation {value:.2f}); leave one out, or keep both in one "
            "split by a group"
            for (one, other), value in list(pairs.items())[:SHOWN_PAIRS]
        ]
        if len(pairs) > SHOWN_PAIRS:
            warnings.append(f"{len(pairs) - SHOWN_PAIRS} more pairs of {role} recordings are nearly the same signal")
    return Leaks(tuple(warnings), tuple(notes))


def _groups(corpus: Corpus) -> list[str]:
    """Return a warning for each group that is in two splits."""
    sides: dict[str, list[str]] = {}
    for use, split in corpus.splits.items():
        for group in {segment.group for segment in chain(split.clean, split.noise)} - {None}:
            sides.setdefault(str(group), []).append(use)
    return [
        f"group {group!r} is in {' and '.join(uses)}, by the use of its sources; pin all its recordings to one split"
        for group, uses in sorted(sides.items())
        if len(uses) > 1
    ]


def _parts(corpus: Corpus) -> list[str]:
    """Return a warning for each role with recordings that are divided in time."""
    warnings = []
    for role in ("clean", "noise"):
        sides: dict[Path, list[str]] = {}
        for use, split in corpus.splits.items():
            for source in {segment.source for segment in getattr(split, role) if segment.group is None}:
                sides.setdefault(source, []).append(use)
        divided = sorted(str(source) for source, uses in sides.items() if len(uses) > 1)
        if divided:
            whose = "person" if role == "clean" else "car"
            warnings.append(
                f"{listing(divided, at_most=2)}: divided in time, so training has heard every {whose} of the test; "
                f"give at least three {role} recordings"
            )
    return warnings


def near_pairs(
    found: Sequence[tuple[str, Segment]], rate_hz: float, above: float = NEAR, share: float = EXCERPT_SHARE
) -> Mapping[tuple[str, str], float]:
    """Return the pairs of nearly equal recordings in different splits, each as "FILE (SPLIT)", with correlations.

    found: split and recording. rate_hz: of all signals. above: the correlation from which on two are nearly equal.
    share: the largest part of a recording that is looked for in others. By 6 s of steady hearts of one rate, different
        people reach 0.7; longer excerpts tell them apart, and find fewer copies that are shifted in time.
    """
    compared = [c for c in (_compared(use, segment, rate_hz, share) for use, segment in found) if c is not None]
    best: dict[tuple[str, str], float] = {}
    for whole in compared:
        others = [c for c in compared if c.use != whole.use and c.segment.source != whole.segment.source]
        for other, value in zip(others, _correlations(whole, others, above), strict=True):
            if value > above:
                one, two = sorted(f"{c.segment.source} ({c.use})" for c in (whole, other))
                best[one, two] = max(value, best.get((one, two), 0.0))
    return dict(sorted(best.items()))


def _compared(use: str, segment: Segment, rate_hz: float, share: float) -> _Compared | None:
    """Prepare a recording; None if it is too short."""
    # Samples are left out without a filter: the signal is in the heart's band already.
    stride = max(1, int(rate_hz // RATE_HZ))
    samples = np.ascontiguousarray(segment.in_band[::stride], np.float32)
    n_excerpt = min(int(EXCERPT_S * rate_hz / stride), int(samples.size * share))
    if n_excerpt < MIN_EXCERPT_S * rate_hz / stride:
        return None
    power = np.square(samples, dtype=np.float64)
    local = uniform_filter1d(power, max(1, int(LEVEL_S * rate_hz / stride)))
    # Silence between sounds stays silent: it is not raised to their level.
    even = (samples / np.sqrt(np.maximum(local, 1e-4 * power.mean() + 1e-30))).astype(np.float32)
    start = int(np.argmax(_sums(power, n_excerpt)))
    excerpt = even[start : start + n_excerpt]
    size = float(np.sqrt(np.sum(np.square(excerpt, dtype=np.float64)))) or 1.0
    spectrum = np.conj(fft(excerpt / size, BLOCK)[: BLOCK // 2])
    return _Compared(use, segment, even, spectrum.astype(np.complex64), n_excerpt)


def _correlations(whole: _Compared, others: Sequence[_Compared], above: float) -> list[float]:
    """Return the largest correlation of the excerpt of each of `others` with a part of `whole`, at any lag.

    Zero for an excerpt that is longer than `whole`, and for a steady tone with a correlation of more than `above`.
    """
    if not others:
        return []
    n_samples = whole.samples.size
    hop = BLOCK - max(other.n_excerpt for other in others) + 1
    n_blocks = -(-n_samples // hop)
    padded = np.zeros((n_blocks - 1) * hop + BLOCK, np.float32)
    padded[:n_samples] = whole.samples
    spectra = fft(sliding_window_view(padded, BLOCK)[::hop], axis=-1)[:, : BLOCK // 2]
    power = np.square(whole.samples, dtype=np.float64)
    product = np.zeros((n_blocks, BLOCK), np.complex64)
    sizes: dict[int, NDArray[np.float64]] = {}
    found = []
    for other in others:
        n_lags = n_samples - other.n_excerpt + 1
        if n_lags < 1:
            found.append(0.0)
            continue
        if other.n_excerpt not in sizes:
            # The floor is for silent parts, where rounding would decide.
            least = 0.01 * other.n_excerpt
            sizes[other.n_excerpt] = np.sqrt(np.maximum(_sums(power, other.n_excerpt), least))
        # Positive frequencies only: the magnitude of the result is the envelope of the correlation over the lags. It
        # does not depend on the polarity, nor on the lag within a sample.
        np.multiply(spectra, other.excerpt, out=product[:, : BLOCK // 2])
        envelope = 2 * np.abs(ifft(product, axis=-1)[:, :hop]).reshape(-1)[:n_lags]
        values = envelope / sizes[other.n_excerpt]
        peak = float(values.max())
        found.append(0.0 if peak > above and np.median(values) > STEADY else min(peak, 1.0))
    return found


def _sums(power: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the sum of each run of n values."""
    total = np.concatenate([[0.0], np.cumsum(power)])
    return np.asarray(total[n:] - total[:-n])
