"""Forms for ONNX equal torch's own operations to rounding, and what PyTorch computes has not changed by a bit."""

import pytest
import torch
from torch import Tensor, nn

from models.conformer import ConformerConfig
from models.diffusion import START_SEED, DiffusionConfig
from models.parts import least_squares
from models.parts.exporting import Parts, convolved_both_ways, frames_of, solved, spectra_of
from models.parts.layers import run_padded
from models.parts.least_squares import cancelled, delayed
from models.parts.spectrum import HOPS, overlap_add, placed, short_time
from models.s4d import StateSpace
from models.tf_mask import TfMaskConfig


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def close(got: Tensor, wanted: Tensor) -> bool:
    return bool((got - wanted).abs().max() <= 1e-5 * wanted.abs().max())


@pytest.mark.parametrize("n_samples", [8, 64])
def test_products_with_cosines_are_the_fourier_transform_and_its_inverse(n_samples: int) -> None:
    frames, window = noise(2, 3, n_samples), torch.hann_window(n_samples)
    wanted = torch.fft.rfft(frames * window)
    got = spectra_of(frames, window)
    assert close(got.real, wanted.real)
    assert close(got.imag, wanted.imag)
    # The imaginary parts of the first and the last bin have no meaning for a real signal.
    other = torch.complex(noise(2, 3, n_samples // 2 + 1), noise(2, 3, n_samples // 2 + 1).flip(-1))
    assert close(frames_of(Parts(other.real, other.imag), n_samples), torch.fft.irfft(other, n_samples))


def test_parts_calculate_as_complex_numbers_do() -> None:
    a, b = torch.complex(noise(2, 3, 4), noise(2, 3, 4) + 1), torch.complex(noise(2, 3, 4).flip(0), noise(2, 3, 4))
    x, y, factor = Parts(a.real, a.imag), Parts(b.real, b.imag), noise(2, 3, 4)
    cases = (
        ((x * y).sum(dim=1), (a * b).sum(dim=1)),
        (0.3 * x[..., 1:] + y[..., 1:], 0.3 * a[..., 1:] + b[..., 1:]),
        ((x * factor / (factor + 9)).transpose(1, 2), (a * factor / (factor + 9)).transpose(1, 2)),
    )
    for got, wanted in cases:
        assert close(got.real, wanted.real)
        assert close(got.imag, wanted.imag)


@pytest.mark.parametrize("ridge", [1e-4, 3e-2])
def test_a_fixed_number_of_steps_solves_the_filters(ridge: float) -> None:
    """Of smooth references, whose delayed copies are nearly the same; and of silence, to zero."""
    smooth = torch.nn.functional.avg_pool1d(noise(3, 2, 600), 9, 1)
    regressors = delayed(smooth, 9, 1)
    primary = noise(3, 1, smooth.shape[-1])
    gram = regressors @ regressors.transpose(1, 2)
    gram = gram + ridge * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(gram.shape[1])
    right = regressors @ primary.transpose(1, 2)
    fit = regressors.transpose(1, 2).double() @ torch.linalg.solve(gram.double(), right.double())
    got = regressors.transpose(1, 2) @ solved(gram, right, ridge)
    assert (got - fit).abs().max() <= 1e-4 * fit.abs().max()
    assert not solved(1e-8 * torch.eye(18)[None], torch.zeros(1, 18, 1), ridge).any()


def test_a_state_space_convolves_both_ways() -> None:
    torch.manual_seed(0)
    layer, x = StateSpace(6, 8, "lin"), noise(2, 6, 50)
    with torch.no_grad():
        forth, back = layer.real_kernels(50)
        for got, wanted in zip((forth, back), layer.kernels(50), strict=True):
            assert close(got, wanted)
        assert close(convolved_both_ways(x, forth, back) + layer.direct * x, layer(x))


def test_short_time_spectra_are_to_the_bit_as_before() -> None:
    x, hann = noise(2, 3, 160), torch.hann_window(32)
    steps = x.reshape(2, 3, -1, 8)
    frames = torch.cat([steps[..., i : i + steps.shape[-2] - HOPS + 1, :] for i in range(HOPS)], dim=-1)
    spectra = torch.fft.rfft(frames * hann, dim=-1)
    assert torch.equal(short_time(x, 32), spectra)
    parts = (torch.fft.irfft(spectra, 32, dim=-1) * hann / 1.5).reshape(2, 3, -1, HOPS, 8)
    total = nn.functional.pad(parts[..., 0, :], (0, 0, 0, HOPS - 1))
    for i in range(1, HOPS):
        total = total + nn.functional.pad(parts[..., i, :], (0, 0, i, HOPS - 1 - i))
    assert torch.equal(overlap_add(spectra, 32), total.flatten(-2))
    in_band = spectra[:, 0, :, 3:9]
    kept = spectra.new_zeros(spectra[:, 0].shape)
    kept[..., slice(3, 9)] = in_band
    assert torch.equal(placed(in_band, slice(3, 9), spectra), kept)


def test_filters_are_to_the_bit_as_before() -> None:
    primary, references = noise(2, 1, 200), noise(2, 2, 200).flip(0)
    regressors, ones = delayed(references, 9, 2), torch.ones(2, 1, 200)
    gram = (regressors * ones) @ regressors.transpose(1, 2)
    energy = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    gram = gram + (0.03 * energy + least_squares._TINY)[:, None, None] * torch.eye(18)
    factor, _ = torch.linalg.cholesky_ex(gram)
    filters = torch.cholesky_solve((regressors * ones) @ primary.transpose(1, 2), factor)
    assert torch.equal(cancelled(primary, regressors, ones, 0.03), primary - filters.transpose(1, 2) @ regressors)


@pytest.mark.parametrize("n_samples", [1, 2, 31, 32, 64, 100])
@pytest.mark.parametrize("margin", [0, 40])
def test_windows_are_extended_to_the_bit_as_before(n_samples: int, margin: int) -> None:
    x = noise(1, 2, n_samples)
    n_padded = max(2, -(-(n_samples + 2 * margin) // 16)) * 16
    position = torch.arange(-margin, n_padded - margin) % max(1, 2 * (n_samples - 1))
    wanted = x[..., torch.where(position < n_samples, position, max(1, 2 * (n_samples - 1)) - position)]
    seen: list[Tensor] = []
    run_padded(lambda given: seen.append(given) or given, x, 16, margin)  # type: ignore[func-returns-value]
    assert torch.equal(seen[0], wanted)


def test_a_diffusion_starts_from_its_seeds_noise_as_before() -> None:
    net = DiffusionConfig(steps=1, levels=2, width=16, encoder_layers=0).build(1)
    wanted = torch.randn(512, generator=torch.Generator().manual_seed(START_SEED))
    assert torch.equal(net.noise(512), wanted)  # type: ignore[operator]
    x = 0.1 * noise(2, 1, 400)
    n = net.noise_samples(400)  # type: ignore[operator]
    with torch.no_grad():
        assert torch.equal(net.eval()(x), net(x, net.noise(n)))  # type: ignore[operator]
        assert not torch.equal(net(x), net(x, noise(n)))


@pytest.mark.parametrize("config", [ConformerConfig(encoder_layers=1, width=64), TfMaskConfig(width=32)])
def test_masks_are_to_the_bit_as_before(
    config: ConformerConfig | TfMaskConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask is torch.complex of its values, wherever the model gets it from."""
    torch.manual_seed(0)
    net, x = config.build(2).eval(), noise(2, 2, 256)
    with torch.no_grad():
        before = net(x)
        monkeypatch.setattr(f"{type(net).__module__}.complex_of", torch.complex)
        assert torch.equal(net(x), before)
