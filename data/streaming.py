"""Resampling and band-pass of a signal as it arrives, with all that is kept between chunks as a value.

Both are linear and causal. Chunks of any size give the same samples as the whole signal at once.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, sosfilt, sosfreqz

from data.errors import DataError
from data.filters import ORDER, bandpass_sections, check_band, ratio
from data.recording import Signal

Floats = NDArray[np.float64]

REACH = 10  # samples of the lower rate on either side, as in scipy.signal.resample_poly
WINDOW = ("kaiser", 5.0)
N_FREQUENCIES = 512
MOST_PRODUCTS = 500_000  # of a channel at once, which bounds the memory


@dataclass(frozen=True, slots=True, eq=False)
class BandState:
    """The state of a ForwardBand: float64[section, channel, 2]."""

    sections: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ForwardBand:
    """The Butterworth band-pass of data.filters, run forwards twice: the same gain as forwards and backwards.

    A recursive filter in one direction has the least delay for its gain, as its phase is minimal.

    sections: float64[section, 6]. delay_samples: by which sounds in the band come later, to the next sample.
    """

    sections: Floats
    delay_samples: int

    def initial(self, n_channels: int) -> BandState:
        """Return the state before the first sample."""
        return BandState(np.zeros((len(self.sections), n_channels, 2)))

    def step(self, chunk: NDArray[np.floating], state: BandState) -> tuple[Floats, BandState]:
        """Return the filtered chunk float64[channel, time], `delay_samples` late, and the state after it."""
        if not chunk.shape[1]:
            return np.zeros(chunk.shape), state
        out, after = sosfilt(self.sections, np.asarray(chunk, np.float64), axis=-1, zi=state.sections)
        # Below this nothing is heard, and numbers near the smallest float make the recursion slow.
        after[np.abs(after) < 1e-200] = 0.0
        return out, BandState(after)


@lru_cache(maxsize=16)
def forward_band(rate_hz: float, low_hz: float, high_hz: float, order: int = ORDER) -> ForwardBand:
    """Return the filter for signals at `rate_hz`. Raises DataError unless 0 < low_hz < high_hz < rate_hz / 2."""
    check_band(rate_hz, low_hz, high_hz, order)
    once = bandpass_sections(rate_hz, low_hz, high_hz, order)
    sections = np.concatenate([once, once])
    hz = np.linspace(low_hz, high_hz, N_FREQUENCIES)
    _, response = sosfreqz(sections, hz, fs=rate_hz)
    group_s = -np.gradient(np.unwrap(np.angle(response)), hz) / math.tau
    # The mean over the band by power, as of a sound that fills it.
    power = np.abs(response) ** 2
    return ForwardBand(sections, round(float(np.sum(power * group_s) / np.sum(power)) * rate_hz))


def forward_bandpass(signal: NDArray[np.floating], rate_hz: float, low_hz: float, high_hz: float) -> Signal:
    """Filter float[..., time] by a ForwardBand; the result is moved back by its delay, to where the sounds are.

    Before its first sample the signal is taken to be constant, and after its last.

    Raises DataError as `forward_band` does, and for a signal without samples.
    """
    band = forward_band(rate_hz, low_hz, high_hz)
    samples = np.asarray(signal, dtype=np.float32)
    if not samples.shape[-1]:
        raise DataError("forward_bandpass: no samples; give a longer signal")
    out = np.empty_like(samples)
    for index in np.ndindex(samples.shape[:-1]):
        row = samples[index].astype(np.float64) - float(samples[index][0])
        row = np.concatenate([row, np.full(band.delay_samples, row[-1])])
        out[index] = sosfilt(band.sections, row)[band.delay_samples :]
    return out


@dataclass(frozen=True, slots=True, eq=False)
class ResamplerState:
    """The state of a Resampler.

    held: float64[channel, time], the samples that outputs to come need. first: the number of the first of them.
    n_done: outputs so far.
    """

    held: Floats
    first: int
    n_done: int


@dataclass(frozen=True, slots=True, eq=False)
class Resampler:
    """Polyphase filtering by the ratio up / down with the filter of scipy.signal.resample_poly.

    The signal is zero before its first sample. An output is computed as soon as all samples that it needs are there.

    bank: float64[phase, tap]. reach: of the filter to either side, in steps of 1 / up of a sample; 0 for equal rates.
    """

    up: int
    down: int
    bank: Floats
    reach: int

    @property
    def delay(self) -> float:
        """Return how long an output waits for the samples that it needs, in samples of the input."""
        return self.reach / self.up

    def initial(self, n_channels: int) -> ResamplerState:
        """Return the state before the first sample."""
        n_taps = self.bank.shape[1]
        return ResamplerState(np.zeros((n_channels, n_taps)), -n_taps, 0)

    def step(self, chunk: NDArray[np.floating], state: ResamplerState) -> tuple[Floats, ResamplerState]:
        """Return the next outputs float64[channel, time] and the state after the chunk float[channel, time]."""
        if self.reach == 0:
            return np.asarray(chunk, np.float64), state
        held = np.concatenate([state.held, chunk], axis=1)
        n_known = state.first + held.shape[1]
        n_done = max(state.n_done, (n_known * self.up - 1 - self.reach) // self.down + 1)
        place = np.arange(state.n_done, n_done, dtype=np.int64) * self.down + self.reach
        n_taps = self.bank.shape[1]
        out = np.empty((len(held), len(place)))
        for start in range(0, len(place), max(1, MOST_PRODUCTS // n_taps)):
            some = place[start : start + max(1, MOST_PRODUCTS // n_taps)]
            at = (some // self.up - state.first)[:, None] - np.arange(n_taps)
            out[:, start : start + len(some)] = np.einsum("cnt,nt->cn", held[:, at], self.bank[some % self.up])
        # The sample from which on the next output needs them.
        keep = (n_done * self.down + self.reach) // self.up - n_taps + 1
        first = max(state.first, min(keep, n_known))
        return out, ResamplerState(held[:, first - state.first :].copy(), first, n_done)


@lru_cache(maxsize=16)
def resampler(from_hz: float, to_hz: float) -> Resampler:
    """Return the resampler from one rate to another. Raises DataError for rates that data.filters.resample refuses."""
    if from_hz == to_hz:
        return Resampler(1, 1, np.ones((1, 1)), 0)
    up, down = ratio(from_hz, to_hz)
    highest = max(up, down)
    reach = REACH * highest
    taps = up * firwin(2 * reach + 1, 1 / highest, window=WINDOW)
    n_taps = -(-len(taps) // up)
    bank = np.pad(taps, (0, n_taps * up - len(taps))).reshape(n_taps, up).T
    return Resampler(up, down, np.ascontiguousarray(bank), reach)
