"""What every denoiser must do: runs over whatever stands in DENOISERS, files added later included."""

import copy
import dataclasses
import pickle
import random
import typing
from collections.abc import Iterator, Mapping

import pytest
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from models import DENOISERS, DenoiserConfig
from models.base import register

every_denoiser = pytest.mark.parametrize("cls", DENOISERS.values(), ids=DENOISERS.keys())


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """An operation without a deterministic form raises; seeds are fixed."""
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    yield
    torch.use_deterministic_algorithms(False)


def ranges(cls: type[DenoiserConfig]) -> dict[str, BaseDistribution]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        for note in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(note, BaseDistribution):
                found[field.name] = note
    return found


def draw(rng: random.Random, distribution: BaseDistribution) -> object:
    match distribution:
        case CategoricalDistribution():
            return rng.choice(distribution.choices)
        case IntDistribution():
            return rng.randrange(distribution.low, distribution.high + 1, distribution.step or 1)
        case FloatDistribution():
            return rng.uniform(distribution.low, distribution.high)
    raise AssertionError(distribution)


def sampled(cls: type[DenoiserConfig], n: int) -> list[DenoiserConfig]:
    rng = random.Random(1)
    return [cls(**{name: draw(rng, d) for name, d in ranges(cls).items()}) for _ in range(n)]


def noise(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def built(cls: type[DenoiserConfig], n_channels: int = 1) -> nn.Module:
    """Built by default, with batch statistics taken once so that evaluation is not a special case."""
    net = cls().build(n_channels)
    net.train()
    with torch.no_grad():
        net(noise(4, n_channels, 256))
    return net


@every_denoiser
def test_default_of_every_ranged_field_lies_in_its_range(cls: type[DenoiserConfig]) -> None:
    for name, distribution in ranges(cls).items():
        default = getattr(cls(), name)
        assert distribution._contains(distribution.to_internal_repr(default)), (name, default)


@every_denoiser
def test_every_sampled_config_builds_and_runs(cls: type[DenoiserConfig]) -> None:
    for config in sampled(cls, 20):
        with torch.no_grad():
            estimate = config.build().eval()(noise(1, 1, 200))
        assert estimate.shape == (1, 1, 200), config
        assert estimate.isfinite().all(), config


@every_denoiser
@pytest.mark.parametrize("n_samples", [1, 2, 3, 17, 255, 256, 301])
@pytest.mark.parametrize("training", [True, False])
def test_any_length_is_kept_also_for_a_single_item(cls: type[DenoiserConfig], n_samples: int, training: bool) -> None:
    estimate = cls().build().train(training)(noise(1, 1, n_samples))
    assert estimate.shape == (1, 1, n_samples)
    assert estimate.dtype == torch.float32
    assert estimate.isfinite().all()


@every_denoiser
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5, 6])
def test_any_number_of_channels_gives_one(cls: type[DenoiserConfig], n_channels: int) -> None:
    assert cls().build(n_channels)(noise(2, n_channels, 200)).shape == (2, 1, 200)


@every_denoiser
def test_input_is_left_as_it_was(cls: type[DenoiserConfig]) -> None:
    noisy = noise(2, 1, 200)
    before = noisy.clone()
    cls().build()(noisy)
    assert torch.equal(noisy, before)


@every_denoiser
def test_gradient_reaches_every_parameter(cls: type[DenoiserConfig]) -> None:
    """In evaluation mode: batch statistics would cancel the bias before them."""
    net = built(cls, 2).eval()
    if not list(net.parameters()):
        return
    net(noise(2, 2, 256)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@every_denoiser
def test_a_few_steps_lower_the_loss_on_one_batch(cls: type[DenoiserConfig]) -> None:
    net = cls().build()
    if not list(net.parameters()):
        return
    time_s = torch.arange(256) / 250
    clean = (0.5 * torch.sin(2 * torch.pi * 40 * time_s)).expand(4, 1, -1)
    noisy = clean + noise(4, 1, 256)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = (net(noisy) - clean).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


@every_denoiser
def test_permuting_the_batch_permutes_the_output(cls: type[DenoiserConfig]) -> None:
    net, noisy, order = built(cls).eval(), noise(5, 1, 256), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(net(noisy[order]), net(noisy)[order], atol=1e-5, rtol=1e-4)


@every_denoiser
def test_an_item_does_not_see_the_others(cls: type[DenoiserConfig]) -> None:
    """Fails where attention runs over the batch: permuting the batch alone would not show that."""
    net, noisy = built(cls).eval(), noise(3, 1, 256)
    with torch.no_grad():
        together = net(torch.cat((noisy[:1], 50 * noisy[1:])))[:1]
        torch.testing.assert_close(together, net(noisy[:1]), atol=1e-5, rtol=1e-4)


@every_denoiser
@pytest.mark.parametrize("training", [True, False])
def test_silence_gives_finite_values_and_gradients(cls: type[DenoiserConfig], training: bool) -> None:
    net = cls().build().train(training)
    estimate = net(torch.zeros(2, 1, 200))
    assert estimate.isfinite().all()
    if list(net.parameters()):
        estimate.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@every_denoiser
def test_copies_and_saved_weights_give_the_same_output(cls: type[DenoiserConfig]) -> None:
    net, noisy = built(cls).eval(), noise(2, 1, 256)
    loaded = cls().build().eval()
    loaded.load_state_dict(net.state_dict())
    with torch.no_grad():
        for other in (loaded, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other(noisy), net(noisy))


@every_denoiser
def test_the_same_seed_builds_the_same_weights(cls: type[DenoiserConfig]) -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(cls().build().state_dict())
    assert nets[0].keys() == nets[1].keys()
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


@every_denoiser
def test_config_is_a_frozen_hashable_value(cls: type[DenoiserConfig]) -> None:
    config = cls()
    assert hash(config) == hash(cls())
    assert config == cls(**dataclasses.asdict(config))
    assert DENOISERS[cls.name] is cls
    for field in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, getattr(config, field.name))


@every_denoiser
def test_config_survives_strict_json(cls: type[DenoiserConfig]) -> None:
    adapter = TypeAdapter(cls)
    for config in (cls(), *sampled(cls, 5)):
        assert adapter.validate_json(adapter.dump_json(config), strict=True, extra="forbid") == config
    with pytest.raises(ValidationError, match="misspelt"):
        adapter.validate_json('{"misspelt": 1}', strict=True, extra="forbid")


@every_denoiser
def test_input_without_a_channel_axis_or_samples_is_refused_in_one_line(cls: type[DenoiserConfig]) -> None:
    if not list(cls().build().parameters()):
        return
    for shape in ((2, 200), (1, 1, 0)):
        with pytest.raises(ValueError, match=r"takes \[batch, channel, time\]") as refused:
            cls().build()(torch.zeros(shape))
        assert "\n" not in str(refused.value)


def test_two_denoisers_cannot_share_a_name() -> None:
    with pytest.raises(AssertionError, match="identity"):
        register("identity")(DenoiserConfig)


WITHOUT_POSITIONS: list[tuple[str, Mapping[str, object]]] = [
    *(
        (name, {"levels": 3, "skip": skip})
        for name in ("autoencoder", "pixel_shuffle", "wave_unet")
        for skip in (True, False)
    ),
    ("wave_unet_transformer", {"levels": 3, "positional": "none"}),
    ("wave_unet_transformer", {"levels": 3, "positional": "none", "skip": False}),
    ("pixel_shuffle_transformer", {"levels": 3, "positional": "none"}),
    ("tcn_mask", {"stride": 8}),
    ("conv_transformer", {"halvings": 3, "positional": "none"}),
    ("demucs", {"levels": 3, "bottleneck": "none"}),
]


@pytest.mark.parametrize(("name", "settings"), WITHOUT_POSITIONS, ids=str)
def test_window_ends_are_treated_like_the_middle(name: str, settings: Mapping[str, object]) -> None:
    """A constant input gives an output that repeats with the coarsest step, right to both ends: no spikes."""
    with torch.no_grad():
        estimate = DENOISERS[name](**settings).build().eval()(torch.full((1, 1, 256), 0.4))[0, 0]
    torch.testing.assert_close(estimate, estimate[128:136].repeat(32), atol=1e-5, rtol=0)
