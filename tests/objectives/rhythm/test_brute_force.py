"""The decoder against a list of all paths: every posterior of a short and coarse recording is the sum over them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from objectives.rhythm import chain as chain_module
from objectives.rhythm.backward import Backward, Posterior
from objectives.rhythm.chain import Chain
from objectives.rhythm.durations import Lags, RhythmPrior, Tables, tables
from objectives.rhythm.paths import Paths
from objectives.rhythm.sounds import Sounds, sounds

Floats = NDArray[np.float64]
FRAME_HZ = 10.0
# Cycles of 3-8 frames and sounds of 1 frame: few paths, with all kinds of events in them.
COARSE = RhythmPrior(
    low_bpm=100,
    high_bpm=180,
    n_periods=2,
    cycle_spread=0.05,
    systole_sd_s=0.05,
    sound_sd_s=0.01,
    ectopic_share=0.1,
    rhythm_s=3,
    gap_s=1,
)


@dataclass(frozen=True)
class Path:
    """Events of a path (frame, class, is early), its frames without rhythm, and its probability with the evidence."""

    events: tuple[tuple[int, int, bool], ...]
    none: tuple[int, ...]
    weight: float


def choices(lags: Lags, k: int) -> Iterator[tuple[int, float]]:
    for offset, share in enumerate(lags.share[k]):
        if share > 0:
            yield int(lags.first[k]) + offset, float(share)


def at(values: Floats, frame: int) -> float:
    return float(values[frame]) if 0 <= frame < values.size else 1.0


def s2_choices(t: Tables, s: Sounds, frame: int, k: int, early: bool) -> tuple[float, list[tuple[int, float]]]:
    """Return the weight of no S2, and the frame and weight of each S2."""
    missed = t.prior.missed_s2_early if early else t.prior.missed_s2
    return missed, [(frame + lag, (1 - missed) * p * at(s.s2, frame + lag)) for lag, p in choices(t.systole, k)]


def paths(t: Tables, s: Sounds) -> Iterator[Path]:
    """Yield every path through the recording."""
    n, n_classes = s.s1.size, len(t.rates_bpm)

    def without(frame: int, path: Path) -> Iterator[Path]:
        """Go on from no rhythm at a frame."""
        if frame == n - 1:
            yield path
            return
        for k in range(n_classes):
            weight = path.weight * t.p_start * t.start[k] * s.s1[frame + 1]
            yield from beat(frame + 1, k, False, replace(path, weight=weight))
        staying = Path(path.events, (*path.none, frame + 1), path.weight * (1 - t.p_start))
        yield from without(frame + 1, staying)

    def beat(frame: int, k: int, early: bool, path: Path) -> Iterator[Path]:
        """Go on from a beat; its S1 is in the weight."""
        missed, heard = s2_choices(t, s, frame, k, early)
        here = Path((*path.events, (frame, k, early)), path.none, path.weight * (missed + sum(w for _, w in heard)))
        ways = (
            [("pause", t.pause, 1.0)]
            if early
            else [
                ("cycle", t.cycle, float(t.p_cycle[k])),
                ("early", t.early, float(t.p_early[k])),
                ("end", t.end, float(t.p_end[k])),
            ]
        )
        ended = 0.0
        for name, lags, probability in ways:
            for lag, share in choices(lags, k):
                after = frame + lag
                weight = here.weight * probability * share
                if after >= n:
                    ended += weight
                elif after < 0 or not weight:
                    continue
                elif name == "end":
                    yield from without(after, Path(here.events, (*here.none, after), weight))
                elif name == "early":
                    yield from beat(after, k, True, replace(here, weight=weight * s.s1[after]))
                else:
                    for to in range(n_classes):
                        changed = weight * t.change[k, to] * s.s1[after]
                        yield from beat(after, to, False, replace(here, weight=changed))
        if ended:
            yield replace(here, weight=ended)

    none = t.prior.no_rhythm_at_start
    yield from without(-1, Path((), (), none))
    mean = t.p_cycle * t.cycle.mean + t.p_early * t.early.mean + t.p_end * t.end.mean
    for k in range(n_classes):
        for ago in range(1, t.longest + 1):
            yield from beat(-ago, k, False, Path((), (), (1 - none) * t.start[k] / mean[k]))


def listed(t: Tables, s: Sounds) -> Posterior:
    n = s.s1.size
    beat, s2, none, total = np.zeros(n), np.zeros(n), np.zeros(n), 0.0
    for path in paths(t, s):
        total += path.weight
        for frame in path.none:
            none[frame] += path.weight
        for frame, k, early in path.events:
            if frame >= 0:
                beat[frame] += path.weight
            missed, heard = s2_choices(t, s, frame, k, early)
            both = missed + sum(w for _, w in heard)
            for at_frame, weight in heard:
                if 0 <= at_frame < n:
                    s2[at_frame] += path.weight * weight / both
    return Posterior(beat / total, beat * s.s1_heard / total, s2 / total, none / total, float(np.log(total)))


def decoded(t: Tables, s: Sounds, n_paths: int = 1) -> tuple[Posterior, list[NDArray[np.int64]]]:
    chain = Chain(s, t)
    backward, drawn = Backward(chain), Paths(chain, n_paths, seed=3)
    for index, segment in enumerate(chain.segments(drawn.note)):
        if not index:
            drawn.begin(segment, backward.ended(segment))
        backward.run(segment)
        drawn.run(segment)
    return backward.posterior(), drawn.beats()


def evidence(t: Tables, n: int, spread: float, seed: int) -> Sounds:
    return sounds(np.random.default_rng(seed).normal(0, spread, (n, 3)), t)


@pytest.mark.parametrize(("n", "spread", "seed"), [(1, 1.0, 0), (9, 2.0, 1), (14, 0.0, 2), (15, 3.0, 3)])
def test_posteriors_are_sums_over_all_paths(n: int, spread: float, seed: int) -> None:
    t = tables(COARSE, FRAME_HZ)
    assert t.p_early.max() > 0  # so that all kinds of events occur
    s = evidence(t, n, spread, seed)
    expected, (found, _) = listed(t, s), decoded(t, s)
    for name in ("beat", "s1", "s2", "none"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-9, err_msg=name)
    assert found.log_bayes == pytest.approx(expected.log_bayes, abs=1e-9)


def test_segments_and_scales_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording in many segments, scaled anew in nearly each block, has the posterior that it has in one."""
    t = tables(COARSE, FRAME_HZ)
    s = evidence(t, 200, 3.0, 5)
    whole, _ = decoded(t, s)
    monkeypatch.setattr(chain_module, "SEGMENT_S", 2.0)
    for module in ("chain", "backward"):
        monkeypatch.setattr(f"objectives.rhythm.{module}.LARGE", 1e-2)
    parts, _ = decoded(t, s)
    for name in ("beat", "s1", "s2", "none", "log_bayes"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("segment_s", [2.0, 1000.0])
def test_paths_are_drawn_with_their_posterior(monkeypatch: pytest.MonkeyPatch, segment_s: float) -> None:
    """Each frame has a beat in the share of drawn paths that its posterior says, within 5 standard deviations."""
    monkeypatch.setattr(chain_module, "SEGMENT_S", segment_s)
    monkeypatch.setattr("objectives.rhythm.chain.LARGE", 10.0)
    t = tables(COARSE, FRAME_HZ)
    s = evidence(t, 120, 2.0, 7)
    n_paths = 4000
    posterior, drawn = decoded(t, s, n_paths)
    share = np.bincount(np.concatenate(drawn), minlength=120) / n_paths
    sd = np.sqrt(posterior.beat * (1 - posterior.beat) / n_paths)
    assert (np.abs(share - posterior.beat) <= 5 * sd + 1e-3).all()
    pairs = [np.diff(frames) for frames in drawn]
    assert min(cycles.min() for cycles in pairs if cycles.size) >= t.shortest
