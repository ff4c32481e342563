"""Causal models: as the signal arrives, in chunks of any size, the estimate is that of the whole signal."""

import re
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import DENOISERS
from models.base import DenoiserConfig
from models.conformer import ConformerConfig
from models.front import FrontConfig
from models.live import LiveConfig
from models.parts.draws import sampled
from models.parts.least_squares import recursively_cancelled
from models.parts.streaming import Carry, CausalDenoiser, Reach, StreamState, moving_mean
from models.tcn_mask import TcnMaskConfig

RATE_HZ = 250.0
N_SAMPLES = 900
CAUSAL = ("tcn_mask", "conformer")
SMALL_CONFORMER = ConformerConfig(window_samples=32, width=32, encoder_layers=2, nhead=2, feed_forward=32)
SMALL_TCN = TcnMaskConfig(stride=2, filters=32, width=16, hidden=32, blocks=3)
NO_FRONT, FRONT = FrontConfig(), FrontConfig(filter_taps=9)
# Every norm and mask of the TCN, both families, with and without lookahead and the recursive front end.
MEMBERS: dict[str, tuple[DenoiserConfig, FrontConfig, float]] = {
    **{f"tcn-{norm}": (replace(SMALL_TCN, norm=norm), NO_FRONT, 0.05) for norm in ("batch", "group", "layer", "none")},
    **{f"tcn-{mask}": (replace(SMALL_TCN, mask=mask), NO_FRONT, 0.0) for mask in ("relu", "none")},
    "tcn-stride-16": (replace(SMALL_TCN, stride=16, overlap=3), NO_FRONT, 0.1),
    "tcn-front": (replace(SMALL_TCN, stride=8), FRONT, 0.05),
    "conformer": (SMALL_CONFORMER, NO_FRONT, 0.064),
    "conformer-no-lookahead": (SMALL_CONFORMER, NO_FRONT, 0.0),
    "conformer-masks": (replace(SMALL_CONFORMER, direct=False, window_samples=64), NO_FRONT, 0.15),
    "conformer-front": (SMALL_CONFORMER, FRONT, 0.064),
}


def built(name: str, n_channels: int = 2) -> CausalDenoiser:
    """A member, with weights far from their initial ones, which nearly ignore the signal."""
    model, front, lookahead_s = MEMBERS[name]
    torch.manual_seed(1)
    net = LiveConfig(causal=True, lookahead_s=lookahead_s, past_s=1.0).build(model, front, n_channels, RATE_HZ)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        net.train()(signal(3, n_channels))  # statistics of batch norms
    return net.eval()


def signal(n_items: int = 1, n_channels: int = 2, n_samples: int = N_SAMPLES) -> Tensor:
    return 0.3 * torch.randn(n_items, n_channels, n_samples, generator=torch.Generator().manual_seed(5))


def streamed(net: CausalDenoiser, noisy: Tensor, sizes: Iterator[int]) -> tuple[Tensor, StreamState]:
    """The estimate of a signal in chunks, silence after it, in place; and the last state."""
    n_samples = noisy.shape[-1]
    rest = torch.nn.functional.pad(noisy, (0, net.delay_samples))
    state, parts = net.initial(noisy.shape[1], len(noisy)), []
    with torch.no_grad():
        while rest.shape[-1]:
            n = min(next(sizes), rest.shape[-1])
            part, state = net.step(rest[..., :n], state)
            assert part.shape[-1] == n
            parts.append(part)
            rest = rest[..., n:]
    return torch.cat(parts, dim=-1)[..., net.delay_samples :][..., :n_samples], state


def cycled(sizes: list[int]) -> Iterator[int]:
    while True:
        yield from sizes


@pytest.mark.parametrize("name", MEMBERS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=8).filter(any))
def test_any_chunks_give_the_estimate_of_the_whole_signal(name: str, sizes: list[int]) -> None:
    net, noisy = built(name), signal(2)
    with torch.no_grad():
        whole = net(noisy)
    assert whole.abs().max() > 0.01
    found, _ = streamed(net, noisy, cycled(sizes))
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CAUSAL)
def test_single_samples_too_and_any_draw_from_the_ranges(name: str) -> None:
    for config in sampled(DENOISERS[name], 6):
        if getattr(config, "output", "linear") != "linear":
            continue
        torch.manual_seed(0)
        net = LiveConfig(causal=True).build(config, NO_FRONT, 1, RATE_HZ).eval()
        noisy = signal(1, 1, 300)
        with torch.no_grad():
            torch.testing.assert_close(streamed(net, noisy, cycled([1]))[0], net(noisy), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MEMBERS)
def test_no_sample_after_the_delay_changes_the_estimate_and_one_within_it_does(name: str) -> None:
    """The delay that is stated is the one that is needed."""
    net, noisy, at = built(name), signal(), 500
    after = noisy.clone()
    after[..., at:] = 5.0
    with torch.no_grad():
        changed = (net(noisy) - net(after))[0, 0].abs() > 1e-6
    first = int(changed.nonzero()[0])
    assert first >= at - net.delay_samples
    assert first <= at - net.delay_samples + net.core.block  # type: ignore[operator]


@pytest.mark.parametrize("name", MEMBERS)
def test_the_estimate_grows_with_the_signal_in_any_unit(name: str) -> None:
    net, noisy = built(name), signal()
    with torch.no_grad():
        one, small = net(noisy), net(1e-4 * noisy) * 1e4
    torch.testing.assert_close(small, one, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_state_stays_of_one_size_and_a_step_leaves_the_old_one(name: str) -> None:
    net = built(name)
    with torch.no_grad():
        _, early = net.step(signal(n_samples=2048), net.initial(2))
        noisy, late = signal(n_samples=512), early
        for _ in range(4):
            _, late = net.step(noisy, late)
        shapes = [[part.shape for part in (s.waiting, s.ready, *(s.kept or ()))] for s in (early, late)]
        assert shapes[0] == shapes[1]
        again, once = net.step(noisy, early)[0], net.step(noisy, early)[0]
    assert torch.equal(again, once)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_causal_model_learns_and_every_parameter_has_a_gradient(name: str) -> None:
    net, noisy = built(name).train(), signal(4)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = (net(noisy) - noisy[:, :1]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]
    net.eval()(noisy).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", MEMBERS)
def test_silence_gives_finite_values(name: str) -> None:
    net = built(name)
    estimate = net(torch.zeros(1, 2, 400))
    estimate.sum().backward()
    assert estimate.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_a_loud_moment_is_forgotten() -> None:
    """What was before the past of all layers changes nothing: a bump, or samples that are not numbers."""
    net, noisy = built("conformer"), signal(n_samples=4000)
    loud = noisy.clone()
    loud[..., :200] = 1e6
    with torch.no_grad():
        torch.testing.assert_close(net(loud)[..., 2000:], net(noisy)[..., 2000:], atol=1e-5, rtol=0)


def test_the_recursive_filters_remove_what_the_references_tell() -> None:
    """Noise that is a mixture of the regressors goes after a second; a sound that is in none of them stays."""
    regressors = torch.randn(1, 5, 3200, generator=torch.Generator().manual_seed(2))
    noise = (regressors * torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])[None, :, None]).sum(dim=1, keepdim=True)
    heart = 0.05 * torch.sin(torch.arange(3200) * 1.1)[None, None]
    left = recursively_cancelled(heart + noise, regressors, 1e-4, 16, 60, Carry())
    assert torch.equal(left[..., :16], (heart + noise)[..., :16])
    assert (left - heart)[..., 1000:].square().mean() < 0.1 * heart.square().mean()


def test_the_moving_mean_is_that_of_the_past_and_this_step() -> None:
    x = torch.arange(6.0)[None, None]
    assert moving_mean(x, 2, Carry())[0, 0].tolist() == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0]


def test_other_families_say_that_they_have_no_causal_form() -> None:
    for name in set(DENOISERS) - set(CAUSAL):
        with pytest.raises(ValueError, match=rf"{name} has no causal form; {', '.join(sorted(CAUSAL))} have, or"):
            DENOISERS[name]().build_causal(1, Reach(0, 250))


@pytest.mark.parametrize("config", [LiveConfig(), FrontConfig()])
def test_the_defaults_are_not_causal(config: LiveConfig | FrontConfig) -> None:
    assert not any(getattr(config, f.name) is True for f in fields(config))


def test_a_bounded_output_is_refused() -> None:
    with pytest.raises(ValueError, match='set output to "linear"'):
        TcnMaskConfig(output="tanh").build_causal(1, Reach(0, 250))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lookahead_s": -0.1}, "lookahead_s is -0.1; 0 to 60 s"),
        ({"past_s": 0.0}, "past_s is 0.0; 0.1 to 60 s"),
        ({"max_delay_s": float("inf")}, "max_delay_s is inf"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        LiveConfig(**options)  # type: ignore[arg-type]
