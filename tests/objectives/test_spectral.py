"""The multi-resolution STFT term: against an STFT written out, closed forms, floors."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from objectives.spectral import FLOOR_SHARE, MultiResolutionStft


def pair(batch: int = 2, time: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    estimate, clean = 0.2 * torch.randn(2, batch, 1, time, generator=generator, dtype=torch.float64)
    return estimate, clean


def magnitudes(signal: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """|STFT| of [time], periodic Hann window, hop n / 4, half a window of zeros at both ends: [frame, bin]."""
    padded = np.pad(signal, n // 2)
    window = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(n) / n)
    frames = [padded[i : i + n] * window for i in range(0, len(signal) + 1, n // 4)]
    return np.abs(np.fft.rfft(np.array(frames), axis=-1))


@pytest.mark.parametrize("time", [200, 203, 20])
def test_equals_the_formula_written_out(time: int) -> None:
    """Mean over windows of the batch and over resolutions of both terms; 20 samples are shorter than every window."""
    windows = (32, 64)
    estimate, clean = pair(time=time)
    terms = []
    for e, c in zip(estimate[:, 0].numpy(), clean[:, 0].numpy(), strict=True):
        for n in windows:
            m_e, m_c = magnitudes(e, n), magnitudes(c, n)
            floor = FLOOR_SHARE * math.sqrt((m_c**2).mean())
            terms.append(np.linalg.norm(m_e - m_c) / np.linalg.norm(m_c))
            terms[-1] += np.abs(np.log((m_e + floor) / (m_c + floor))).mean()
    # torch's Hann buffers are float32
    assert MultiResolutionStft(windows)(estimate, clean).item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_convergence_of_silence_is_one_and_of_double_amplitude_too() -> None:
    _, clean = pair()
    stft = MultiResolutionStft((32,))
    m = np.concatenate([magnitudes(c, 32) for c in clean[:1, 0].numpy()])
    floor = FLOOR_SHARE * math.sqrt((m**2).mean())
    for gain in (0.0, 2.0):
        logs = np.abs(np.log((gain * m + floor) / (m + floor))).mean()
        assert stft(gain * clean[:1], clean[:1]).item() == pytest.approx(1.0 + logs, rel=1e-5)


def test_the_scale_of_the_recording_does_not_matter() -> None:
    estimate, clean = pair()
    stft = MultiResolutionStft((16, 64))
    at_one = stft(estimate, clean).item()
    for gain in (1e-4, 1e3):
        assert stft(gain * estimate, gain * clean).item() == pytest.approx(at_one, rel=1e-6)


def test_magnitudes_are_blind_to_polarity_and_have_no_slope_at_silence() -> None:
    """Why the losses that use this term keep one on the waveform beside it."""
    _, clean = pair()
    stft = MultiResolutionStft((32, 64))
    assert stft(-clean, clean).item() == 0.0
    silent = torch.zeros_like(clean, requires_grad=True)
    stft(silent, clean).backward()
    assert silent.grad is not None
    assert (silent.grad == 0).all()


def test_leakage_far_below_the_heart_sounds_hardly_counts() -> None:
    """A tone 60 dB down, out of the clean signal's band, must cost less than 0.3 of an error of 1 dB in level."""
    t = torch.arange(1280, dtype=torch.float64)
    clean = (torch.hann_window(1280, dtype=torch.float64) * torch.cos(2 * math.pi * 0.16 * t)).reshape(1, 1, -1)
    leak = 1e-3 * torch.cos(2 * math.pi * 0.4 * t).reshape(1, 1, -1)
    stft = MultiResolutionStft((32, 64, 128, 256))
    assert stft(clean + leak, clean) < 0.3 * stft(10 ** (1 / 20) * clean, clean)


def test_the_gradient_agrees_with_finite_differences() -> None:
    estimate, clean = pair(time=24)
    stft = MultiResolutionStft((16, 32))
    assert torch.autograd.gradcheck(lambda e: stft(e, clean), (estimate.requires_grad_(),))


def test_a_silent_clean_window_adds_nothing() -> None:
    estimate, clean = pair()
    clean[1] = 0
    stft = MultiResolutionStft((32,))
    alone = stft(estimate[:1], clean[:1]).item()
    assert stft(estimate, clean).item() == pytest.approx(alone / 2)
