"""Resampling and zero-phase band-pass filtering of float32[..., time]."""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt

from data.errors import DataError
from data.recording import Signal

# The polyphase filter has 20 taps per term of the ratio, so at most 2 million.
MAX_RATIO_TERM = 100_000
MAX_RATIO = 2000
ORDER = 4  # of the band-pass: poles per edge


def resample(signal: NDArray[np.floating], from_hz: float, to_hz: float) -> Signal:
    """Change the rate of float[..., time] by polyphase filtering; return round(time * to_hz / from_hz) samples.

    The ratio is up / down with both at most 100,000, which is exact for all usual rates and within 5e-6 for others.
    Beyond its ends the signal is continued along the line from its first to its last sample, so that an offset makes no
    step there. Equal rates return the input as float32.

    Raises DataError for a rate that is not positive, a ratio beyond 1:2000, or a result without samples.
    """
    for name, rate_hz in (("from_hz", from_hz), ("to_hz", to_hz)):
        if not (np.isfinite(rate_hz) and rate_hz > 0):
            raise DataError(f"resample: {name} is {rate_hz}; a positive number of Hz is needed")
    samples = np.asarray(signal, dtype=np.float32)
    if from_hz == to_hz:
        return samples
    up, down = ratio(from_hz, to_hz)
    n_out = round(samples.shape[-1] * to_hz / from_hz)
    if n_out < 1:
        raise DataError(
            f"resample: {samples.shape[-1]} samples at {from_hz:g} Hz leave none at {to_hz:g} Hz; give a longer signal"
        )
    out = np.asarray(resample_poly(samples, up, down, axis=-1, padtype="line"), dtype=np.float32)[..., :n_out]
    n_missing = n_out - out.shape[-1]
    if n_missing > 0:
        out = np.pad(out, [(0, 0)] * (out.ndim - 1) + [(0, n_missing)], mode="edge")
    return np.ascontiguousarray(out)


def bandpass(signal: NDArray[np.floating], rate_hz: float, low_hz: float, high_hz: float, order: int = ORDER) -> Signal:
    """Filter float[..., time] by a zero-phase Butterworth band-pass.

    The filter has `order` poles per edge and runs forwards and backwards, so its gain is -6 dB at both edges. The ends
    are continued by odd reflection over three times the filter's response time, 1 / bandwidth.

    Raises DataError unless 0 < low_hz < high_hz < rate_hz / 2 and the signal is longer than that continuation.
    """
    check_band(rate_hz, low_hz, high_hz, order)
    samples = np.asarray(signal, dtype=np.float32)
    n_pad = continued_samples(rate_hz, low_hz, high_hz)
    if samples.shape[-1] <= n_pad:
        raise DataError(
            f"bandpass: {samples.shape[-1]} samples at {rate_hz:g} Hz; {low_hz:g} to {high_hz:g} Hz "
            f"needs more than {n_pad}: give a longer signal or a wider band"
        )
    sos = bandpass_sections(rate_hz, low_hz, high_hz, order)
    out = np.empty_like(samples)
    # One row at a time, because scipy works on an extended float64 copy, which is large for long recordings.
    for index in np.ndindex(samples.shape[:-1]):
        out[index] = sosfiltfilt(sos, samples[index], padlen=n_pad)
    return out


def check_band(rate_hz: float, low_hz: float, high_hz: float, order: int) -> None:
    """Raise DataError unless 0 < low_hz < high_hz < rate_hz / 2 and the order is at least 1."""
    if not 0 < low_hz < high_hz:
        raise DataError(f"bandpass: band is {low_hz:g} to {high_hz:g} Hz; 0 < low_hz < high_hz is needed")
    if high_hz >= rate_hz / 2:
        raise DataError(
            f"bandpass: high_hz is {high_hz:g} at a rate of {rate_hz:g} Hz; it must lie below "
            f"{rate_hz / 2:g} Hz (half the rate): lower high_hz or use a recording with a higher rate"
        )
    if order < 1:
        raise DataError(f"bandpass: order is {order}; at least 1 is needed")


def bandpass_sections(rate_hz: float, low_hz: float, high_hz: float, order: int = ORDER) -> NDArray[np.float64]:
    """Return the second-order sections float64[section, 6] of `bandpass` in one direction."""
    sections: NDArray[np.float64] = butter(order, (low_hz, high_hz), btype="bandpass", fs=rate_hz, output="sos")
    return sections


def continued_samples(rate_hz: float, low_hz: float, high_hz: float) -> int:
    """Return the samples by which `bandpass` continues both ends."""
    return math.ceil(3 * rate_hz / (high_hz - low_hz))


def ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """Return to_hz / from_hz as a fraction (up, down) of integers up to MAX_RATIO_TERM. Raises DataError."""
    exact = Fraction(to_hz) / Fraction(from_hz)
    if not Fraction(1, MAX_RATIO) <= exact <= MAX_RATIO:
        raise DataError(
            f"resample: {from_hz:g} Hz to {to_hz:g} Hz is a ratio of {float(exact):.3g}; "
            f"1/{MAX_RATIO} to {MAX_RATIO} is allowed: check the rates"
        )
    if exact < 1:
        near = exact.limit_denominator(MAX_RATIO_TERM)
        return near.numerator, near.denominator
    near = (1 / exact).limit_denominator(MAX_RATIO_TERM)
    return near.denominator, near.numerator
