"""What every score must do, as rules: (text, function, advice); see training.plugins.contract.

A function takes a Score and returns the problem, "" where there is none. The windows are synthetic: S1 and S2 of a
regular heart, with noise in the heart's band.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.config import HEART_BAND_HZ
from data.filters import bandpass
from training.evaluation.scores import Score, Windows, better

Rule = tuple[str, Callable[[Score], str], str]

RATE_HZ, N_WINDOWS, WINDOW_S = 250.0, 12, 6.0
SOUND_HZ, SOUND_S = 38.0, 0.03  # of S1 and S2; SOUND_S is the standard deviation of their envelope
SYSTOLE_S = 0.32  # from S1 to S2
ARRAYS = ("estimate", "noisy", "clean", "reference_bpm")


def _windows(snr_db: float) -> Windows:
    """Return windows of the unchanged mixture at an SNR. A score may change them without harm to the next check."""
    made = _made(snr_db)
    return replace(made, **{name: getattr(made, name).copy() for name in ARRAYS})


@functools.cache
def _made(snr_db: float) -> Windows:
    rng = np.random.default_rng(0)
    time_s = np.arange(round(WINDOW_S * RATE_HZ)) / RATE_HZ
    rates_bpm = np.linspace(58.0, 88.0, N_WINDOWS)
    sounds = np.zeros((N_WINDOWS, time_s.size))
    for row, rate_bpm in zip(sounds, rates_bpm, strict=True):
        for s1_s in np.arange(rng.uniform(0.1, 0.4), WINDOW_S, 60 / rate_bpm):
            for at_s, level in ((s1_s, 1.0), (s1_s + SYSTOLE_S, 0.7)):
                since_s = time_s - at_s
                row += level * np.exp(-0.5 * (since_s / SOUND_S) ** 2) * np.sin(2 * np.pi * SOUND_HZ * since_s)
    clean = bandpass(sounds, RATE_HZ, *HEART_BAND_HZ)
    noise = bandpass(rng.standard_normal(clean.shape), RATE_HZ, *HEART_BAND_HZ)
    noise *= np.sqrt(np.mean(clean**2, axis=1) / np.mean(noise**2, axis=1) / 10 ** (snr_db / 10))[:, None]
    noisy = (clean + noise).astype(np.float32)
    return Windows(noisy, noisy, clean.astype(np.float32), rates_bpm, RATE_HZ, in_band=True)


def _of(score: Score, windows: Windows) -> float:
    return score.sum_up(score.values(windows))


def gives_a_value_for_each_window(score: Score) -> str:
    """Return why the values are no float64, one for each window."""
    values = score.values(_windows(0.0))
    if isinstance(values, np.ndarray) and values.shape == (N_WINDOWS,) and values.dtype == np.float64:
        return ""
    found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
    return f"{N_WINDOWS} windows give {found}, not float64 ({N_WINDOWS},)"


def rewards_the_clean_signal(score: Score) -> str:
    """Return why the clean signal does not score better than the mixture at -10 dB, or scores worse at 0 dB."""
    hard, easy = _windows(-10.0), _windows(0.0)
    if not better(score, _of(score, replace(hard, estimate=hard.clean)), _of(score, hard)):
        return f"at -10 dB the clean signal does not score better than the mixture ({score.direction})"
    worse = better(score, _of(score, easy), _of(score, replace(easy, estimate=easy.clean)))
    return "at 0 dB the mixture scores better than the clean signal" if worse else ""


def states_what_silence_does(score: Score) -> str:
    """Return why silence beats the mixture at -10 dB though the score says that it does not, or the reverse."""
    windows = _windows(-10.0)
    silence = replace(windows, estimate=np.zeros_like(windows.noisy))
    won = better(score, _of(score, silence), _of(score, windows))
    if won == score.silence_wins:
        return ""
    return f"at -10 dB silence {'wins' if won else 'loses'}, and silence_wins is {score.silence_wins}"


def scores_windows_alone(score: Score) -> str:
    """Return why a window's value depends on the other windows."""
    whole = _windows(0.0)
    part = Windows(
        whole.estimate[3:5],
        whole.noisy[3:5],
        whole.clean[3:5],
        whole.reference_bpm[3:5],
        whole.rate_hz,
        whole.in_band,
    )
    alone, among = score.values(part), score.values(whole)[3:5]
    return "" if np.allclose(alone, among, equal_nan=True) else f"windows score {among} among others and {alone} alone"


def never_rewards_broken_estimates(score: Score) -> str:
    """Return why an estimate that is not finite scores better than the mixture."""
    windows = _windows(0.0)
    broken = replace(windows, estimate=np.full_like(windows.noisy, np.nan))
    won = better(score, _of(score, broken), _of(score, windows))
    return "an estimate of NaN scores better than the mixture" if won else ""


def repeats_itself(score: Score) -> str:
    """Return why two calls differ, or change the windows."""
    windows, untouched = _windows(0.0), _windows(0.0)
    one, other = (score.values(windows) for _ in range(2))
    changed = [name for name in ARRAYS if not np.array_equal(getattr(windows, name), getattr(untouched, name))]
    if changed:
        return f"the call changes {changed[0]} of the windows"
    return "" if np.array_equal(one, other, equal_nan=True) else "two calls differ"


SCORE_RULES: tuple[Rule, ...] = (
    ("one float64 for each window", gives_a_value_for_each_window, "return float64[window]"),
    (
        "the clean signal scores better than the mixture",
        rewards_the_clean_signal,
        "check direction, and that the estimate is compared with the clean signal",
    ),
    (
        "silence_wins is right",
        states_what_silence_does,
        "set silence_wins as found; a study cannot choose models by a score that silence wins",
    ),
    ("a window is scored by itself", scores_windows_alone, "reduce over time only, not over the windows"),
    ("an estimate of NaN never wins", never_rewards_broken_estimates, "give NaN and infinity the worst value"),
    (
        "two calls give equal scores, and the windows are not changed",
        repeats_itself,
        "draw no random numbers, and copy an array before you change it",
    ),
)
