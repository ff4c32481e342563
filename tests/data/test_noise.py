"""What each randomiser keeps and what it changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.mixing.noise import RANDOMISERS, randomise, surrogate

MAGNITUDE_KEPT = ("none", "half_phase_shuffle", "phase_random")
CHANGING = tuple(kind for kind in RANDOMISERS if kind != "none")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Coloured, with an offset, so that no bin is like another."""
    white = torch.randn(*shape, generator=seeded(7), dtype=torch.float64)
    return (white.cumsum(-1) * 0.3 + white + 2).to(dtype)


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


@settings(max_examples=25)
@given(
    kind=st.sampled_from(tuple(RANDOMISERS)),
    batch=st.integers(1, 3),
    channels=st.integers(1, 3),
    time=st.integers(2, 65),
)
def test_real_same_shape_and_input_untouched(kind: str, batch: int, channels: int, time: int) -> None:
    windows = noise(batch, channels, time, dtype=torch.float32)
    before = windows.clone()
    got = randomise(windows, kind, seeded())
    assert got.shape == windows.shape
    assert got.dtype == windows.dtype
    assert not got.is_complex()
    assert torch.isfinite(got).all()
    assert torch.equal(windows, before)


@settings(max_examples=25)
@given(kind=st.sampled_from(MAGNITUDE_KEPT), time=st.integers(2, 130))
def test_the_magnitude_spectrum_is_kept_at_odd_and_even_lengths(kind: str, time: int) -> None:
    windows = noise(2, 2, time)
    got = randomise(windows, kind, seeded())
    close(torch.fft.rfft(got).abs(), torch.fft.rfft(windows).abs())


@settings(max_examples=25)
@given(kind=st.sampled_from(("phase_shuffle", *MAGNITUDE_KEPT)), time=st.integers(2, 130))
def test_the_bins_at_0_hz_and_half_the_rate_keep_their_value(kind: str, time: int) -> None:
    windows = noise(2, 2, time)
    got, want = (torch.fft.rfft(w) for w in (randomise(windows, kind, seeded()), windows))
    close(got[..., 0], want[..., 0])
    if time % 2 == 0:
        close(got[..., -1], want[..., -1])


def test_full_phase_shuffle_loses_half_the_power_and_raises_no_bin() -> None:
    """Permuted phases no longer match their mirror; the real part keeps m |cos d| of a magnitude m."""
    windows = noise(64, 1, 512)
    got = torch.fft.rfft(randomise(windows, "phase_shuffle", seeded())).abs()[..., 1:-1]
    was = torch.fft.rfft(windows).abs()[..., 1:-1]
    assert (got <= was * (1 + 1e-9)).all()
    share = float((got**2 / was**2).mean())
    assert 0.48 < share < 0.52


def test_full_phase_shuffle_is_the_real_part_of_an_inverse_fft_of_permuted_phases() -> None:
    """Each output is some permutation's: with 4 samples only bins 1 and 3 can swap, so two outputs exist."""
    windows = noise(1, 1, 4)
    spectrum = torch.fft.fft(windows)
    swapped = spectrum.clone()
    swapped[..., 1] = spectrum[..., 1].abs() * torch.exp(1j * spectrum[..., 3].angle())
    swapped[..., 3] = spectrum[..., 3].abs() * torch.exp(1j * spectrum[..., 1].angle())
    allowed = [windows, torch.fft.ifft(swapped).real]
    seen = set()
    for seed in range(20):
        got = randomise(windows, "phase_shuffle", seeded(seed))
        matches = [i for i, want in enumerate(allowed) if torch.allclose(got, want)]
        assert matches
        seen.add(matches[0])
    assert seen == {0, 1}


def test_half_phase_shuffle_only_permutes_phases() -> None:
    windows = noise(3, 2, 101)
    got, was = (
        torch.fft.rfft(w).angle()[..., 1:].sort(-1).values
        for w in (randomise(windows, "half_phase_shuffle", seeded()), windows)
    )
    close(got, was)


def test_random_phases_are_uniform() -> None:
    phase = torch.fft.rfft(randomise(noise(200, 1, 101), "phase_random", seeded())).angle()[..., 1:].flatten()
    assert abs(float(torch.cos(phase).mean())) < 0.03
    assert abs(float(torch.sin(phase).mean())) < 0.03
    assert abs(float(torch.cos(2 * phase).mean())) < 0.03


def test_sample_shuffle_keeps_the_histogram_of_every_channel() -> None:
    windows = noise(3, 2, 101)
    got = randomise(windows, "sample_shuffle", seeded())
    assert torch.equal(got.sort(-1).values, windows.sort(-1).values)


def test_sample_shuffle_whitens() -> None:
    """Neighbouring samples of brown noise hang together; after the shuffle they do not."""

    def neighbours(x: Tensor) -> float:
        x = x - x.mean(-1, keepdim=True)
        return float((x[..., 1:] * x[..., :-1]).sum() / (x**2).sum())

    windows = noise(20, 1, 1000)
    assert neighbours(windows) > 0.8
    assert abs(neighbours(randomise(windows, "sample_shuffle", seeded()))) < 0.05


def test_phase_random_keeps_cross_spectra_between_channels() -> None:
    """Prichard & Theiler 1994: one random phase for all channels."""
    windows = noise(2, 3, 200)
    windows[:, 1] = windows[:, 0].roll(5, -1) + 0.5 * windows[:, 1]
    got, was = (torch.fft.rfft(w) for w in (randomise(windows, "phase_random", seeded()), windows))
    close(got[:, 0] * got[:, 1].conj(), was[:, 0] * was[:, 1].conj())


@pytest.mark.parametrize("kind", CHANGING)
def test_equal_channels_stay_equal_and_windows_are_drawn_apart(kind: str) -> None:
    one = noise(1, 1, 128).expand(2, 3, 128)
    got = randomise(one, kind, seeded())
    torch.testing.assert_close(got[:, 0], got[:, 1])
    assert not torch.allclose(got[0], got[1])


@pytest.mark.parametrize("kind", CHANGING)
def test_the_generator_decides(kind: str) -> None:
    windows = noise(2, 1, 64)
    first = randomise(windows, kind, seeded(3))
    assert torch.equal(first, randomise(windows, kind, seeded(3)))
    assert not torch.allclose(first, randomise(windows, kind, seeded(4)))
    assert not torch.allclose(first, windows)


def test_half_precision_comes_back_as_half_precision() -> None:
    got = randomise(noise(1, 1, 64, dtype=torch.bfloat16), "phase_random", seeded())
    assert got.dtype == torch.bfloat16


def test_a_surrogate_keeps_spectrum_and_mean_at_a_fast_length() -> None:
    signal = noise(2, 1500)
    got = surrogate(signal, seeded())
    close(torch.fft.rfft(got).abs(), torch.fft.rfft(signal).abs())
    assert not torch.allclose(got, signal)


def test_a_surrogate_keeps_level_and_mean_at_a_prime_length() -> None:
    signal = torch.randn(2, 10007, generator=seeded(1), dtype=torch.float64) + 3
    got = surrogate(signal, seeded())
    assert got.shape == signal.shape
    torch.testing.assert_close(got.std(-1), signal.std(-1), rtol=0.02, atol=0)
    torch.testing.assert_close(got.mean(-1), signal.mean(-1), rtol=0.02, atol=0)


def test_a_surrogate_of_channels_keeps_their_correlation() -> None:
    signal = torch.randn(2, 10007, generator=seeded(1), dtype=torch.float64)
    signal[1] += signal[0]
    before, after = (float(torch.corrcoef(s)[0, 1]) for s in (signal, surrogate(signal, seeded())))
    assert abs(before - after) < 0.02


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'shufle'; known: none, sample_shuffle, phase_shuffle"):
        randomise(noise(1, 1, 8), "shufle", seeded())


@pytest.mark.parametrize("windows", [torch.zeros(8), torch.zeros(1, 1, 1), torch.zeros(1, 1, 8, dtype=torch.int32)])
def test_windows_of_another_shape_or_type_are_refused(windows: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[batch, channel, time\]"):
        randomise(windows, "phase_random", seeded())
