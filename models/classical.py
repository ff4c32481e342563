"""Classical denoisers, without learning, which every table compares with the trained models.

Each takes a ClassicalInput and returns the estimate float32[window, time] in the units of its input. CLASSICAL, near
the end of the file, holds them by name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pywt
from numpy.typing import NDArray
from scipy import signal

FRAME_S = 0.256
"""Frame of the short-time spectra: 256 samples at 1 kHz."""

NLMS_REACH_S = 0.064
"""Half the span of the adaptive filter's taps."""

NLMS_STEP = 0.02
"""Normalised step: a larger one adapts faster and cancels more of the heart sound with the noise."""

WIENER_FLOOR = 0.1
"""Smallest gain, so that the gain of quiet cells does not fluctuate."""

_TINY = 1e-20


@dataclass(frozen=True, slots=True, eq=False)
class ClassicalInput:
    """Mixtures and their parts.

    noisy: float32[window, channel, time]; channel 0 is to be denoised, the others are reference channels.
    rate_hz: the sampling rate.
    band_hz: (low, high) edges of the signal's band.
    clean, noise: float32[window, time], the parts of channel 0 as mixed. Only "wiener" (noise) and "oracle" (both) use
        them.

    Raises ValueError if shapes do not match or the band does not lie below half the rate.
    """

    noisy: NDArray[np.float32]
    rate_hz: float
    band_hz: tuple[float, float]
    clean: NDArray[np.float32] | None = None
    noise: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.noisy.ndim != 3 or 0 in self.noisy.shape:
            raise ValueError(
                f"noisy has shape {list(self.noisy.shape)}, must be [window, channel, time], none empty: "
                "give a single window as noisy[None, None, :]"
            )
        low, high = self.band_hz
        if not 0 < low < high < self.rate_hz / 2:
            raise ValueError(
                f"band_hz = ({low:g}, {high:g}) at rate_hz = {self.rate_hz:g}, must satisfy "
                f"0 < low < high < rate / 2 = {self.rate_hz / 2:g}: lower the band or raise the rate"
            )
        for name, part in (("clean", self.clean), ("noise", self.noise)):
            if part is not None and part.shape != self.noisy[:, 0].shape:
                raise ValueError(
                    f"{name} has shape {list(part.shape)}, must be that of channel 0, "
                    f"{list(self.noisy[:, 0].shape)}: cut it with the same windows as noisy"
                )


def zeros(mixture: ClassicalInput) -> NDArray[np.float32]:
    """Return silence, which a good score must rank low."""
    return np.zeros_like(mixture.noisy[:, 0])


def identity(mixture: ClassicalInput) -> NDArray[np.float32]:
    """Return channel 0 unchanged."""
    return mixture.noisy[:, 0].copy()


def bandpass(mixture: ClassicalInput) -> NDArray[np.float32]:
    """Return channel 0 in its band, by a zero-phase Butterworth filter of order 4."""
    return _in_band(mixture.noisy[:, 0], mixture).astype(np.float32)


def wavelet(mixture: ClassicalInput) -> NDArray[np.float32]:
    """Soft-threshold the wavelet coefficients of the band-passed signal, with a threshold for each level.

    The threshold of a level with n coefficients d is sigma * (0.3936 + 0.1829 log2 n), or 0 for n <= 32, with
    sigma = median |d| / 0.6745. This is the minimax threshold (Donoho & Johnstone 1994, Biometrika 81:425), per level
    because the noise is coloured (Johnstone & Silverman 1997, J. R. Stat. Soc. B 59:319). The universal threshold,
    sigma * sqrt(2 ln n), removes most of a heart sound below 0 dB: its SI-SDR is 4 to 16 dB lower, measured at 0 to
    -10 dB. There are as many levels as needed for the approximation to lie below the band.
    """
    n_samples = mixture.noisy.shape[-1]
    basis = pywt.Wavelet("sym8")
    wanted = math.ceil(math.log2(mixture.rate_hz / 2 / mixture.band_hz[0]))
    n_levels = min(wanted, pywt.dwt_max_level(n_samples, basis.dec_len))
    if n_levels < 1:
        return bandpass(mixture)
    # The approximation lies below the band and contains no signal, so it is not thresholded.
    approximation, *details = pywt.wavedec(_in_band(mixture.noisy[:, 0], mixture), basis, level=n_levels)
    kept = [_soft(d, _minimax(d.shape[-1]) * np.median(np.abs(d), axis=-1, keepdims=True) / 0.6745) for d in details]
    estimate = pywt.waverec([approximation, *kept], basis)
    return np.asarray(estimate[..., :n_samples], dtype=np.float32)


def wiener(mixture: ClassicalInput) -> NDArray[np.float32]:
    """Filter each time-frequency cell by a Wiener gain, given the power spectrum of the noise in each window.

    The gain is max(1 - N / P, 0.1), with P the power of the cell and N the mean noise power at its frequency (power
    subtraction with a floor: Lim & Oppenheim 1979, Proc. IEEE 67:1586; Berouti et al. 1979, ICASSP). A window without
    noise is returned unchanged.

    Raises ValueError if `noise` is not given.
    """
    if mixture.noise is None:
        raise ValueError("wiener: noise is None, it needs the noise as mixed in: pass noise= or leave it out")
    noisy = _spectrum(mixture.noisy[:, 0], mixture.rate_hz)
    noise_power = np.mean(np.abs(_spectrum(mixture.noise, mixture.rate_hz)) ** 2, axis=-1, keepdims=True)
    gain = np.maximum(1 - noise_power / (np.abs(noisy) ** 2 + _TINY), WIENER_FLOOR)
    return _unchanged_without(mixture.noise, _waveform(gain * noisy, mixture), mixture)


def nlms(mixture: ClassicalInput) -> NDArray[np.float32]:
    """Cancel noise adaptively with the reference channels (Widrow et al. 1975, Proc. IEEE 63:1692).

    A normalised LMS filter predicts the band-passed channel 0 from the band-passed reference channels; the estimate is
    the prediction error. The taps span +-`NLMS_REACH_S` around each sample. The filter runs at the lowest whole
    fraction of the rate that still contains the band, first backward through the window to warm up and then forward.
    Without reference channels this is the band-pass.
    """
    in_band = _in_band(mixture.noisy, mixture)
    primary, references = in_band[:, 0], in_band[:, 1:]
    if references.shape[1] == 0:
        return primary.astype(np.float32)
    every = max(1, int(mixture.rate_hz / (4 * mixture.band_hz[1])))
    reach = round(NLMS_REACH_S * mixture.rate_hz / every)
    # In chunks, because the taps of a window take many times its memory.
    chunks = [slice(start, start + 64) for start in range(0, len(primary), 64)]
    noise = np.concatenate([_predict(primary[c, ::every], references[c, :, ::every], reach) for c in chunks])
    if every > 1:
        noise = signal.resample_poly(noise, every, 1, axis=-1)[..., : primary.shape[-1]]
    return np.asarray(primary - noise, dtype=np.float32)


def oracle(mixture: ClassicalInput) -> NDArray[np.float32]:
    """Apply the ideal ratio mask |C|^2 / (|C|^2 + |N|^2) on frames of `FRAME_S`. It knows the clean signal: a bound.

    A window without noise is returned unchanged.

    Raises ValueError if `clean` or `noise` is not given.
    """
    if mixture.clean is None or mixture.noise is None:
        missing = "clean" if mixture.clean is None else "noise"
        raise ValueError(f"oracle: {missing} is None, it needs both parts: pass {missing}= or leave it out")
    clean = np.abs(_spectrum(mixture.clean, mixture.rate_hz)) ** 2
    noise = np.abs(_spectrum(mixture.noise, mixture.rate_hz)) ** 2
    masked = clean / (clean + noise + _TINY) * _spectrum(mixture.noisy[:, 0], mixture.rate_hz)
    return _unchanged_without(mixture.noise, _waveform(masked, mixture), mixture)


def _unchanged_without(
    noise: NDArray[np.float32], estimate: NDArray[np.float32], mixture: ClassicalInput
) -> NDArray[np.float32]:
    """Return `estimate`, with channel 0 itself in the windows in which `noise` [window, time] is zero."""
    return np.where(noise.any(axis=-1, keepdims=True), estimate, mixture.noisy[:, 0])


def _predict(primary: NDArray[np.float64], references: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Return the normalised LMS prediction of [window, time] from [window, channel, time], for all windows at once."""
    n_windows, n_references, n_samples = references.shape
    n_taps = 2 * reach + 1
    padded = np.pad(references, ((0, 0), (0, 0), (reach, reach)))
    # Time first, so that one step reads neighbouring memory: [time, window, channel * tap].
    taps = np.lib.stride_tricks.sliding_window_view(padded, n_taps, axis=-1)
    by_time = np.ascontiguousarray(taps.transpose(2, 0, 1, 3), dtype=np.float32)
    regressor = by_time.reshape(n_samples, n_windows, n_references * n_taps)
    power = np.einsum("twk,twk->tw", regressor, regressor)
    # The window's mean power in the divisor limits the step at quiet moments.
    step = NLMS_STEP / (power + power.mean(axis=0) + np.float32(_TINY))
    wanted = primary.T.astype(np.float32)
    weights = np.zeros((n_windows, n_references * n_taps), dtype=np.float32)
    predicted = np.empty_like(wanted)
    for time in (*range(n_samples - 1, -1, -1), *range(n_samples)):
        predicted[time] = np.einsum("wk,wk->w", regressor[time], weights)
        weights += (step[time] * (wanted[time] - predicted[time]))[:, None] * regressor[time]
    return predicted.T.astype(np.float64)


def _in_band(x: NDArray[np.float32], mixture: ClassicalInput) -> NDArray[np.float64]:
    """Filter the last axis, of any length, by a zero-phase band-pass."""
    sections = signal.butter(4, mixture.band_hz, "bandpass", fs=mixture.rate_hz, output="sos")
    n_lead = min(int(mixture.rate_hz / mixture.band_hz[0] * 4), x.shape[-1] - 1)
    return np.asarray(signal.sosfiltfilt(sections, x.astype(np.float64), axis=-1, padlen=n_lead))


def _soft(x: NDArray[np.float64], threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def _minimax(n: int) -> float:
    """Return the minimax soft threshold for n coefficients of unit noise."""
    return 0.3936 + 0.1829 * math.log2(n) if n > 32 else 0.0


def _frame_samples(n_samples: int, rate_hz: float) -> int:
    return max(4, min(round(FRAME_S * rate_hz), n_samples))


def _spectrum(x: NDArray[np.float32], rate_hz: float) -> NDArray[np.complex128]:
    """Return the spectrum [window, frequency, frame] of [window, time], in Hann frames that overlap by 3/4."""
    n_frame = _frame_samples(x.shape[-1], rate_hz)
    # A frame needs four samples; a shorter window is padded with zeros, which `_waveform` cuts off.
    filled = np.pad(x.astype(np.float64), ((0, 0), (0, max(0, n_frame - x.shape[-1]))))
    _, _, spectrum = signal.stft(filled, rate_hz, "hann", n_frame, n_frame - n_frame // 4, axis=-1)
    return np.asarray(spectrum)


def _waveform(spectrum: NDArray[np.complex128], mixture: ClassicalInput) -> NDArray[np.float32]:
    """Undo `_spectrum`."""
    n_samples = mixture.noisy.shape[-1]
    n_frame = _frame_samples(n_samples, mixture.rate_hz)
    _, x = signal.istft(spectrum, mixture.rate_hz, "hann", n_frame, n_frame - n_frame // 4)
    return np.asarray(x[..., :n_samples], dtype=np.float32)


CLASSICAL: dict[str, Callable[[ClassicalInput], NDArray[np.float32]]] = {
    "zeros": zeros,
    "identity": identity,
    "bandpass": bandpass,
    "wavelet": wavelet,
    "wiener": wiener,
    "nlms": nlms,
    "oracle": oracle,
}


def classical_estimates(
    noisy: NDArray[np.float32],
    clean: NDArray[np.float32],
    noise: NDArray[np.float32],
    rate_hz: float,
    band_hz: tuple[float, float],
) -> dict[str, NDArray[np.float32]]:
    """Return the estimates float32[snr, window, time] of a mixture by every method, by name.

    noisy: float32[snr, window, channel, time]; clean: float32[window, time]; noise: float32[snr, window, time].
    """
    inputs = [ClassicalInput(noisy[i], rate_hz, band_hz, clean, noise[i]) for i in range(len(noisy))]
    return {name: np.stack([method(given) for given in inputs]) for name, method in CLASSICAL.items()}
