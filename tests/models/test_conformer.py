"""The Conformer knows how far apart sounds lie, not where, and stays in its band."""

from typing import Any

import pytest
import torch

from models.conformer import Conformer, ConformerConfig
from models.parts.conformer import rotate

RATE_HZ = 250.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(n_channels: int = 1, **settings: object) -> Conformer:
    torch.manual_seed(0)
    net = ConformerConfig(**settings).build(n_channels).eval()  # type: ignore[arg-type]
    assert isinstance(net, Conformer)
    return net


def test_rotated_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 16, generator=seeded())
    products = rotate(query.expand(1, 1, 40, 16)) @ rotate(key.expand(1, 1, 40, 16)).transpose(-1, -2)
    for distance in (-7, 0, 3, 20):
        along = products[0, 0].diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)
    assert products[0, 0, 0, 3] != pytest.approx(float(products[0, 0, 0, 20]), abs=1e-3)


def test_a_sound_comes_out_the_same_wherever_it_lies() -> None:
    """Up to whole hops: a burst in silence, 12 hops later. The ends of the window, now nearer, are seen a little."""
    net = built()
    burst = torch.randn(1, 1, 200, generator=seeded()) * torch.hann_window(200)
    early, late = (torch.nn.functional.pad(burst, (at, 1280 - 200 - at)) for at in (400, 400 + 12 * net.hop))
    with torch.no_grad():
        first, second = net(early), net(late)
    assert float(first.abs().max()) > 0.01
    moved = second[..., 400 + 12 * net.hop :][..., :200] - first[..., 400:600]
    assert float(moved.square().sum()) < 1e-3 * float(first[..., 400:600].square().sum())


def test_nothing_comes_out_far_from_its_band() -> None:
    """20 to 62.5 Hz at 250 Hz, and what a Hann window of 256 ms spreads beyond."""
    with torch.no_grad():
        estimate = built()(torch.randn(2, 1, 1280, generator=seeded()))
    power = torch.fft.rfft(estimate).abs().square().mean((0, 1))
    frequency_hz = torch.fft.rfftfreq(1280, 1 / RATE_HZ)
    outside = (frequency_hz < 10) | (frequency_hz > 75)
    assert float(power[outside].sum() / power.sum()) < 1e-3


def test_the_same_frequencies_at_another_rate_are_as_many_bins() -> None:
    assert ConformerConfig().bins == (5, 17)
    assert ConformerConfig(window_samples=256, low=0.02, high=0.0625).bins == (5, 17)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"low": 0.3, "high": 0.2}, "low = 0.3 and high = 0.2"),
        ({"high": 0.6}, "high = 0.6"),
        ({"width": 36, "nhead": 4}, "nhead = 4 leaves 9 numbers to a head"),
        ({"window_samples": 66}, "window_samples = 66"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ConformerConfig(**settings)  # type: ignore[arg-type]


def test_attention_is_in_float32_on_a_cpu_whatever_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast takes attention down to bfloat16 even where its inputs are float32, unless it is told not to."""
    seen: list[tuple[torch.dtype, bool]] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def noting(query: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        seen.append((query.dtype, torch.is_autocast_enabled("cpu")))
        return plain(query, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noting)
    model = ConformerConfig(width=64, encoder_layers=1).build(1)
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(2, 1, 512)).float().square().mean().backward()
    assert set(seen) == {(torch.float32, False)}
