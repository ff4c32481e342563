"""The network for beats reads any denoiser's estimate, has a row for each frame, and learns to find sounds."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import DENOISERS
from models.autoencoder import AutoencoderConfig
from models.beats import N_CLASSES, BeatsConfig, WithBeats
from models.front import FrontConfig, SolvedFirst
from objectives.losses import frame_cross_entropy

SMALL = BeatsConfig(beats_weight=1.0, beats_width=32, beats_layers=1, beats_nhead=2, beats_kernel=5)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def built(n_channels: int = 1, config: BeatsConfig = SMALL) -> WithBeats:
    torch.manual_seed(0)
    net = config.build(torch.nn.Conv1d(n_channels, 1, 1), n_channels)
    assert isinstance(net, WithBeats)
    return net


def test_without_a_weight_the_denoiser_is_alone() -> None:
    denoiser = torch.nn.Conv1d(1, 1, 1)
    assert BeatsConfig().build(denoiser, 1) is denoiser


@pytest.mark.parametrize("name", DENOISERS)
def test_every_family_keeps_its_estimate_or_says_why_it_cannot(name: str) -> None:
    torch.manual_seed(0)
    denoiser = DENOISERS[name]().build(2).eval()
    if hasattr(denoiser, "training_loss"):
        with pytest.raises(ValueError, match="a training loss of its own; set beats_weight to 0"):
            SMALL.build(denoiser, 2)
        return
    net, x = SMALL.build(denoiser, 2).eval(), 0.3 * noise(2, 2, 256)
    assert torch.equal(net(x), denoiser(x))


@settings(max_examples=25, deadline=None)
@given(n_samples=st.integers(1, 700), n_channels=st.integers(1, 3))
def test_a_row_for_each_whole_frame(n_samples: int, n_channels: int) -> None:
    net, x = built(n_channels), noise(2, n_channels, n_samples)
    logits = net.sounds(net(x), x)
    assert logits.shape == (2, n_samples // SMALL.frame_samples, N_CLASSES)
    assert logits.isfinite().all()


def test_the_level_of_a_channel_changes_nothing() -> None:
    net, x = built(2), noise(1, 2, 512)
    scaled = x * torch.tensor([30.0, 0.01])[:, None]
    estimate = x[:, :1]
    torch.testing.assert_close(net.sounds(estimate, x), net.sounds(100 * estimate, scaled), atol=1e-3, rtol=1e-3)


def test_a_shift_by_a_hop_shifts_the_frames() -> None:
    """Attention depends on distances, so sounds far from both ends are found alike wherever they are."""
    net = built().eval()
    wave = torch.zeros(1, 1, 1024)
    wave[..., 500:520] = noise(20)
    hop = SMALL.beats_spectrum_samples // 4
    moved = torch.roll(wave, hop, dims=-1)
    one, other = net.sounds(wave, wave)[0], net.sounds(moved, moved)[0]
    frames = hop // SMALL.frame_samples
    torch.testing.assert_close(one[200:300], other[200 + frames : 300 + frames], atol=0.05, rtol=0)


def test_it_learns_where_bursts_are() -> None:
    """Bursts of 40 Hz are S1, of 55 Hz S2; the estimate is the signal itself."""
    torch.manual_seed(0)
    net = dataclasses.replace(SMALL, beats_width=64, beats_nhead=4).build(torch.nn.Identity(), 1)
    assert isinstance(net, WithBeats)
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(512) / 250.0
    frame_time = torch.arange(256) * 2 / 250.0

    def drawn() -> tuple[torch.Tensor, torch.Tensor]:
        at = 0.2 + 1.6 * torch.rand((8, 2), generator=generator)
        bells = [torch.exp(-(((t - at[:, k : k + 1]) / 0.03) ** 2)) for t in (time, frame_time) for k in (0, 1)]
        wave = bells[0] * torch.sin(2 * torch.pi * 40 * time) + bells[1] * torch.sin(2 * torch.pi * 55 * time)
        sounds = torch.stack(bells[2:], dim=-1).clamp_max(0.5)
        labels = torch.cat([sounds, 1 - sounds.sum(-1, keepdim=True)], dim=-1)
        return wave[:, None] + 0.02 * torch.randn((8, 1, 512), generator=generator), labels

    optimiser = torch.optim.AdamW(net.beats.parameters(), 3e-3)
    losses = []
    for _ in range(80):
        wave, labels = drawn()
        loss = frame_cross_entropy(net.sounds(wave, wave), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    wave, labels = drawn()
    found = net.sounds(wave, wave).softmax(-1)
    assert losses[-1] < 0.4 * losses[0]
    for kind in (0, 1):
        late = (found[..., kind].argmax(-1) - labels[..., kind].argmax(-1)).abs() * 0.008
        assert float(late.median()) < 0.03


def second(n_channels: int = 2, passes: int = 2) -> WithBeats:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, beats_passes=passes)
    net = config.build(AutoencoderConfig(levels=2, width=8).build(n_channels + config.n_more), n_channels)
    assert isinstance(net, WithBeats)
    return net.eval()


def test_a_second_pass_sees_the_first_estimate() -> None:
    """The first pass sees nothing there; the channels of the window stay as they are."""
    net, x = second(), 0.3 * noise(2, 2, 1024)
    seen: list[torch.Tensor] = []
    net.denoiser.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    first_estimate = net.denoiser(torch.nn.functional.pad(x, (0, 0, 0, net.n_more)))
    seen.clear()
    net(x)
    first, later = seen
    assert torch.equal(first[:, :2], x) and torch.equal(later[:, :2], x)
    assert not first[:, 2:].any()
    torch.testing.assert_close(later[:, 2], first_estimate[:, 0])


def test_means_of_the_sounds_that_are_found_are_passed_on() -> None:
    """Where the network finds bursts, the second pass gets their mean without the noise between them."""
    net = second(1)
    centres = torch.arange(100, 1900, 220)
    time = torch.arange(2000)
    wave = sum(torch.exp(-(((time - c) / 8.0) ** 2)) * torch.cos((time - c) * 0.95) for c in centres.tolist())
    assert isinstance(wave, torch.Tensor)
    noisy = (wave + 0.2 * noise(2000))[None, None]
    logits = torch.full((1, 1000, N_CLASSES), -8.0)
    logits[..., 2] = 0.0
    logits[0, centres // 2, 0] = 8.0
    _, mean, _ = net.known(noisy, noisy, logits.softmax(-1))[0]
    error = (mean - wave).square().sum() / wave.square().sum()
    assert float(error) < 0.1
    assert not mean[centres[0] + 60 : centres[1] - 60].any()


@pytest.mark.parametrize("n_samples", [1, 3, 17, 75, 300])
def test_windows_too_short_for_sounds_have_passes_too(n_samples: int) -> None:
    net = second(1, 3)
    assert net(0.3 * noise(2, 1, n_samples)).shape == (2, 1, n_samples)


def test_training_draws_the_number_of_passes_from_torchs_generator() -> None:
    net, x = second(1, 3).train(), 0.3 * noise(2, 1, 512)
    counts = []
    net.denoiser.register_forward_hook(lambda module, inputs, output: counts.append(1))
    drawn = []
    for seed in (0, 0, *range(1, 12)):
        torch.manual_seed(seed)
        counts.clear()
        net(x)
        drawn.append(len(counts))
    assert drawn[0] == drawn[1]
    assert set(drawn) == {1, 2, 3}


def solver(n_more: int) -> SolvedFirst:
    net = FrontConfig(filter_taps=9).build(AutoencoderConfig(levels=2, width=8), 2, n_more)
    assert isinstance(net, SolvedFirst)
    return net


def test_means_that_are_passed_on_are_no_references_of_the_filters() -> None:
    x, means = noise(1, 2, 512), noise(1, 2, 512)
    net = solver(3)
    one, other = (
        net.solved(torch.cat((x, torch.zeros(1, 1, 512), more), dim=1)) for more in (torch.zeros(1, 2, 512), means)
    )
    assert torch.equal(one[:, :3], other[:, :3])
    assert one.shape == (1, 6, 512)
    torch.testing.assert_close(one[:, :3], solver(0).solved(x))


def test_the_filters_are_solved_without_the_heart_that_is_known() -> None:
    """A reference that hears the heart too: the filters are those of the noise alone, and the heart stays."""
    road, heart = torch.randn((2, 1, 1, 1000), generator=torch.Generator().manual_seed(0))
    reference = road + 0.5 * heart
    with_heart = solver(1).solved(torch.cat((heart + road, reference, heart), dim=1))
    alone = solver(0).solved(torch.cat((road, reference), dim=1))
    torch.testing.assert_close(with_heart[:, :1], alone[:, :1] + heart, atol=1e-4, rtol=0)


def test_unknown_frames_do_not_count() -> None:
    logits, labels = noise(2, 10, 3), torch.full((2, 10, 3), 1 / 3)
    expected = frame_cross_entropy(logits[:, :4], labels[:, :4])
    labels[:, 4:] = torch.nan
    torch.testing.assert_close(frame_cross_entropy(logits, labels), expected)
    assert frame_cross_entropy(logits, torch.full_like(labels, torch.nan)) == 0
    sure = torch.nn.functional.one_hot(torch.arange(3), 3).float()[None]
    assert float(frame_cross_entropy(torch.zeros(1, 3, 3), sure)) == pytest.approx(1.0986, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beats_weight": -1.0}, "beats_weight is -1.0"),
        ({"beats_spectrum_samples": 24}, "beats_spectrum_samples = 24"),
        ({"beats_low": 0.3}, "beats_low = 0.3"),
        ({"beats_width": 0}, "beats_width"),
        ({"beats_kernel": 4}, "beats_kernel"),
        ({"beats_nhead": 5}, "nhead"),
        ({"beats_weight": 1.0, "beats_passes": 4}, "beats_passes = 4, must be from 1 to 3"),
        ({"beats_passes": 2}, "beats_passes = 2 needs beats_weight above 0"),
    ],
)
def test_a_network_that_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BeatsConfig(**options)  # type: ignore[arg-type]
