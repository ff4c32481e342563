"""At the lab's sizes the trainable parameters agree to the last one; what cannot exist is refused by name."""

import re
from typing import TypedDict

import pytest
import torch
from torch import nn

from models.autoencoder import AutoencoderConfig
from models.base import DenoiserConfig
from models.canceller import CancellerConfig
from models.conv_transformer import ConvTransformerConfig
from models.demucs import DemucsConfig
from models.diffusion import DiffusionConfig
from models.parts.attention import sinusoidal_encoding
from models.parts.layers import Activation, Norm
from models.pixel_shuffle import PixelShuffleConfig, shuffle, unshuffle
from models.pixel_shuffle_transformer import PixelShuffleTransformerConfig
from models.s4d import S4dConfig
from models.tcn_mask import TcnMaskConfig
from models.tf_mask import TfMaskConfig
from models.two_stage_transformer import TwoStageTransformerConfig
from models.wave_unet import WaveUNetConfig
from models.wave_unet_transformer import Entry, WaveUNetTransformerConfig


class UNetSizes(TypedDict):
    """Fields of every Wave-U-Net's config."""

    width: int
    kernel_down: int
    kernel_up: int
    norm: Norm
    activation: Activation


class TransformerSizes(UNetSizes):
    """Fields of the configs of Wave-U-Nets with Transformer layers."""

    levels: int
    nhead: int
    feed_forward: int
    entry: Entry


class TwoStageSizes(TransformerSizes):
    """Fields of the two-stage Transformer's config."""

    time_steps: int
    time_heads: int


LAB_UNET: UNetSizes = {"width": 24, "kernel_down": 15, "kernel_up": 5, "norm": "batch", "activation": "leaky_relu"}
LAB_TRANSFORMER: TransformerSizes = {**LAB_UNET, "levels": 10, "nhead": 8, "feed_forward": 2048, "entry": "attention"}
LAB_TWO_STAGE: TwoStageSizes = {**LAB_TRANSFORMER, "levels": 7, "time_steps": 40, "time_heads": 20}

LAB = [
    (AutoencoderConfig(levels=4, width=16, kernel=3, norm="none"), 64_961),
    (PixelShuffleConfig(levels=4, width=16, kernel=3, norm="none", factor=2), 8_390_889),
    (WaveUNetConfig(levels=10, **LAB_UNET), 6_071_426),
    (WaveUNetConfig(levels=7, **LAB_UNET), 2_262_842),
    (WaveUNetTransformerConfig(encoder_layers=2, **LAB_TRANSFORMER), 8_859_650),
    (WaveUNetTransformerConfig(encoder_layers=4, **LAB_TRANSFORMER), 11_294_946),
    (
        PixelShuffleTransformerConfig(
            levels=4, width=16, kernel=3, norm="none", encoder_layers=1, nhead=8, feed_forward=2048
        ),
        33_577_193,
    ),
    (TwoStageTransformerConfig(encoder_layers=2, **LAB_TWO_STAGE), 4_770_674),
]


def n_trainable(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize(("config", "n_parameters"), LAB, ids=[f"{c.name}-{n}" for c, n in LAB])
def test_parameter_count_at_the_labs_size(config: DenoiserConfig, n_parameters: int) -> None:
    assert n_trainable(config.build()) == n_parameters


@pytest.mark.parametrize(
    "config",
    [
        WaveUNetTransformerConfig(encoder_layers=2, **LAB_TRANSFORMER),
        TwoStageTransformerConfig(encoder_layers=2, **LAB_TWO_STAGE),
    ],
    ids=lambda config: config.name,
)
def test_every_layer_of_the_labs_transformers_is_at_work(config: DenoiserConfig) -> None:
    """A layer that is only counted would get no gradient."""
    net = config.build().eval()
    net(torch.randn(1, 1, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_transformer_layers_start_from_different_weights() -> None:
    torch.manual_seed(0)
    net = WaveUNetTransformerConfig(encoder_layers=2, entry="none").build()
    first, second = (p for name, p in net.named_parameters() if name.endswith("in_proj_weight"))
    assert not torch.equal(first, second)


def test_entry_none_leaves_out_one_layer_and_conv_puts_the_plain_bottleneck_there() -> None:
    """Counted: attention - none is a Transformer layer, conv - none the Wave-U-Net's bottleneck."""
    counts = {e: n_trainable(WaveUNetTransformerConfig(entry=e).build()) for e in ("attention", "conv", "none")}
    config = WaveUNetTransformerConfig()
    d, f, k = config.d_model, config.feed_forward, config.kernel_down
    assert counts["attention"] - counts["none"] == 4 * d * d + 4 * d + 2 * d * f + f + d + 4 * d
    assert counts["conv"] - counts["none"] == d * d * k + d + 2 * d


def test_attention_reaches_farther_in_time_than_the_convolutions() -> None:
    """The first sample moves the last one only through the Transformer."""
    torch.manual_seed(0)
    noisy = 0.1 * torch.randn(1, 1, 512)
    moved = noisy.clone()
    moved[..., 0] += 1
    with torch.no_grad():
        plain = WaveUNetConfig(levels=2, width=8, kernel_down=5, kernel_up=3).build().eval()
        assert torch.equal(plain(moved)[..., -1], plain(noisy)[..., -1])
        attending = WaveUNetTransformerConfig(levels=2, width=8, kernel_down=5, kernel_up=3).build().eval()
        assert not torch.equal(attending(moved)[..., -1], attending(noisy)[..., -1])


def test_conv_transformer_has_half_a_million_parameters_at_125_steps_per_second_of_1_khz() -> None:
    n = n_trainable(ConvTransformerConfig(halvings=3, width=96, blocks=7, kernel=9).build())
    assert 450_000 < n < 550_000


@pytest.mark.parametrize(("n_steps", "d_model"), [(1, 1), (7, 5), (3000, 16)])
def test_positions_are_the_published_sines_and_cosines(n_steps: int, d_model: int) -> None:
    encoding = sinusoidal_encoding(n_steps, d_model)
    assert encoding.shape == (n_steps, d_model)
    t, column = n_steps - 1, d_model - 1
    angle = torch.tensor(t / 10_000 ** ((column - column % 2) / d_model))
    expected = angle.cos() if column % 2 else angle.sin()
    torch.testing.assert_close(encoding[t, column], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("factor", [2, 4])
def test_shuffle_undoes_unshuffle_and_neighbours_become_channels(factor: int) -> None:
    x = torch.arange(2 * 3 * 16.0).reshape(2, 3, 16)
    folded = unshuffle(x, factor)
    assert folded.shape == (2, 3 * factor, 16 // factor)
    assert torch.equal(folded[:, :factor, 0], x[:, 0, :factor])
    assert torch.equal(shuffle(folded, factor), x)


@pytest.mark.parametrize("factor", [3, 4])
def test_pixel_shuffle_builds_with_other_factors(factor: int) -> None:
    net = PixelShuffleConfig(levels=2, width=4, factor=factor).build()
    assert net(torch.zeros(1, 1, 50)).shape == (1, 1, 50)


@pytest.mark.parametrize(
    ("cls", "settings", "said"),
    [
        (
            WaveUNetTransformerConfig,
            {"levels": 5, "width": 6},
            "nhead = 8 must divide d_model .* 5 x 6 = 30.* nhead = 2",
        ),
        (WaveUNetTransformerConfig, {"encoder_layers": 0}, "encoder_layers = 0.*at least 1"),
        (WaveUNetTransformerConfig, {"nhead": 0}, "nhead = 0.*at least 1"),
        (WaveUNetTransformerConfig, {"attention_dropout": 1.0}, r"attention_dropout = 1.0.*\[0, 1\)"),
        (WaveUNetTransformerConfig, {"positional": "learned"}, "positional = 'learned'.*sinusoidal, none"),
        (WaveUNetTransformerConfig, {"entry": "rnn"}, "entry = 'rnn'.*attention, conv, none"),
        (WaveUNetConfig, {"kernel_down": 8}, "kernel_down = 8.*odd.*try 9"),
        (WaveUNetConfig, {"norm": "instance"}, "norm = 'instance'.*batch, group, layer, none"),
        (WaveUNetConfig, {"activation": "elu"}, "activation = 'elu'.*leaky_relu"),
        (WaveUNetConfig, {"output": "sigmoid"}, "output = 'sigmoid'.*tanh, linear"),
        (AutoencoderConfig, {"levels": 0}, "levels = 0.*at least 1"),
        (AutoencoderConfig, {"dropout": -0.1}, r"dropout = -0.1.*\[0, 1\)"),
        (AutoencoderConfig, {"dropout": float("nan")}, r"dropout = nan.*\[0, 1\)"),
        (PixelShuffleConfig, {"width": 5}, "width = 5.*even.*try 6"),
        (PixelShuffleConfig, {"factor": 1}, "factor = 1.*at least 2"),
        (
            PixelShuffleTransformerConfig,
            {"width": 6, "nhead": 5},
            r"nhead = 5 must divide d_model = .* 2 x 6 x 4\^2 = 192",
        ),
        (PixelShuffleTransformerConfig, {"encoder_layers": 0}, "encoder_layers = 0.*at least 1"),
        (TcnMaskConfig, {"stride": 0}, "stride = 0.*at least 1"),
        (TcnMaskConfig, {"mask": "softmax"}, "mask = 'softmax'.*sigmoid, relu, none"),
        (TcnMaskConfig, {"kernel": 4}, "kernel = 4.*odd.*try 5"),
        (ConvTransformerConfig, {"halvings": 0}, "halvings = 0.*at least 1"),
        (ConvTransformerConfig, {"width": 36, "nhead": 8}, "nhead = 8 must divide d_model = width = 36.* nhead = 4"),
        (TfMaskConfig, {"window_samples": 30}, "window_samples = 30.*multiple of 4.*try 32"),
        (TfMaskConfig, {"window_samples": 4}, "window_samples = 4.*at least 8.*try 8"),
        (TfMaskConfig, {"stem_layers": -1}, "stem_layers = -1.*at least 0"),
        (TfMaskConfig, {"mask": "phase"}, "mask = 'phase'.*complex, magnitude"),
        (DemucsConfig, {"stride": 1}, "stride = 1.*at least 2"),
        (DemucsConfig, {"bottleneck": "gru"}, "bottleneck = 'gru'.*lstm, attention, none"),
        (DemucsConfig, {"bottleneck": "attention", "nhead": 3}, r"nhead = 3 must divide .* 16 x 2\^2 = 64"),
        (S4dConfig, {"n_states": 7}, "n_states = 7.*even.*try 8"),
        (S4dConfig, {"init": "hippo"}, "init = 'hippo'.*lin, real"),
        (CancellerConfig, {"taps": 8}, "taps = 8.*odd.*try 9"),
        (CancellerConfig, {"ridge": 0.0}, "ridge = 0.0.*at least 1e-6"),
        (TwoStageTransformerConfig, {"time_heads": 3}, "time_heads = 3 must divide time_steps = 40"),
        (TwoStageTransformerConfig, {"time_steps": 0}, "time_steps = 0.*at least 1"),
        (DiffusionConfig, {"steps": 0}, "steps = 0.*at least 1"),
        (DiffusionConfig, {"start": "clean"}, "start = 'clean'.*noise, noisy"),
        (DiffusionConfig, {"start_time": 1.5}, r"start_time = 1.5.*\(0, 1\]"),
        (DiffusionConfig, {"clean_rms": float("nan")}, r"clean_rms = nan.*\(0, 10\]"),
        (DiffusionConfig, {"encoder_layers": -1}, "encoder_layers = -1.*at least 0"),
    ],
)
def test_what_cannot_exist_is_refused_in_one_line(
    cls: type[DenoiserConfig], settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError) as refused:
        cls(**settings)
    message = str(refused.value)
    assert message.startswith(cls.name) and "\n" not in message
    assert re.search(said, message), message


def test_a_config_outside_the_search_range_still_exists() -> None:
    """The range says where to look, not what can be built: 12 levels of 20 channels lie outside."""
    assert n_trainable(WaveUNetConfig(levels=12, width=20).build()) > 0


def test_refuses_to_build_for_no_channels() -> None:
    for config, _ in LAB:
        with pytest.raises(ValueError, match="n_channels = 0"):
            config.build(0)
