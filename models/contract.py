"""What every denoiser must do, as rules: (text, function, advice); see training.plugins.contract.

A function takes the config class and returns the problem, "" where there is none. RULES_OF_TRAINED train each model for
40 steps on an easy task: noise in 25-55 Hz as the clean signal, 4 dB over white noise in its band. What in-band noise
leaves is the same everywhere in a window, so an end that is treated worse stands out.
"""

import copy
import functools
import pickle
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.base import DenoiserConfig
from models.parts.draws import sampled

Config = type[DenoiserConfig]
Rule = tuple[str, Callable[[Config], str], str]

N_SAMPLED = 20  # configs drawn from the ranges
RATE_HZ, WINDOW_SAMPLES = 250, 256
N_STEPS = 40
END_S = 0.064  # the outer part of a window whose error is compared with that of the middle
MAX_END_ERROR, MAX_SPIKE = 1.5, 2.0  # times the RMS error of the middle
RMS_RATIO = (0.6, 1.25)  # of a trained estimate over the clean signal
LENGTHS = (1, 2, 3, 17, 255, 256, 301)
N_CHANNELS = (1, 2, 3, 4, 5, 6)


def _noise(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def _parameters(net: nn.Module) -> list[nn.Parameter]:
    return list(net.parameters())


def _built(cls: Config, n_channels: int = 1) -> nn.Module:
    """Build a model by default, with batch statistics taken once so that evaluation is not a special case."""
    net = cls().build(n_channels)
    net.train()
    with torch.no_grad():
        net(_noise(4, n_channels, WINDOW_SAMPLES))
    return net


def _shape(estimate: Tensor, expected: tuple[int, ...], said: str) -> str:
    if tuple(estimate.shape) != expected:
        return f"{said}: the estimate has the shape {tuple(estimate.shape)}, not {expected}"
    return "" if estimate.isfinite().all() else f"{said}: the estimate is not finite"


def _differs(one: Tensor, other: Tensor) -> str:
    """Return the largest difference of two estimates, "" if it is within the rounding of float32."""
    if torch.allclose(one, other, atol=1e-5, rtol=1e-4):
        return ""
    return f"estimates differ by up to {float((one - other).abs().max()):.2g}"


def _first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def sampled_configs_run(cls: Config) -> str:
    """Return why a config drawn from the ranges does not build a model that runs."""

    def problem_at(config: DenoiserConfig) -> str:
        with torch.no_grad():
            return _shape(config.build().eval()(_noise(1, 1, 200)), (1, 1, 200), f"{config}")

    return _first(problem_at(config) for config in sampled(cls, N_SAMPLED))


def keeps_any_length(cls: Config) -> str:
    """Return why a window of some length is not kept, in training and in evaluation, also a single one."""

    def problem_at(n_samples: int, training: bool) -> str:
        estimate = cls().build().train(training)(_noise(1, 1, n_samples))
        said = f"{n_samples} samples, {'training' if training else 'evaluation'}"
        if estimate.dtype != torch.float32:
            return f"{said}: the estimate is of {estimate.dtype}, not float32"
        return _shape(estimate, (1, 1, n_samples), said)

    return _first(problem_at(n_samples, training) for n_samples in LENGTHS for training in (True, False))


def takes_any_channels(cls: Config) -> str:
    """Return why an input of some number of channels does not give one channel."""

    def problem_at(n: int) -> str:
        return _shape(cls().build(n)(_noise(2, n, 200)), (2, 1, 200), f"{n} channels")

    return _first(map(problem_at, N_CHANNELS))


def leaves_its_input(cls: Config) -> str:
    """Return why the input is changed."""
    noisy = _noise(2, 1, 200)
    before = noisy.clone()
    cls().build()(noisy)
    return "" if torch.equal(noisy, before) else "forward() has changed the tensor that it was given"


def gradient_reaches_parameters(cls: Config) -> str:
    """Return the first parameter without a gradient in evaluation; batch statistics would cancel a bias before them."""
    net = _built(cls, 2).eval()
    if not _parameters(net):
        return ""
    net(_noise(2, 2, WINDOW_SAMPLES)).square().sum().backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().max() > 0):
            return f"the gradient of {name} is {'missing' if parameter.grad is None else 'zero'}"
    return ""


def learns_a_batch(cls: Config) -> str:
    """Return why a few steps of Adam do not lower the L1 on one batch by 3 %."""
    net = cls().build()
    if not _parameters(net):
        return ""
    time_s = torch.arange(WINDOW_SAMPLES) / RATE_HZ
    clean = (0.5 * torch.sin(2 * torch.pi * 40 * time_s)).expand(4, 1, -1)
    noisy = clean + _noise(4, 1, WINDOW_SAMPLES)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = (net(noisy) - clean).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return "" if losses[-1] < 0.97 * losses[0] else f"the L1 goes from {losses[0]:.4f} to {losses[-1]:.4f} in 12 steps"


def permutes_with_the_batch(cls: Config) -> str:
    """Return why a permuted batch does not give permuted estimates."""
    net, noisy, order = _built(cls).eval(), _noise(5, 1, WINDOW_SAMPLES), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        return _differs(net(noisy[order]), net(noisy)[order])


def items_are_independent(cls: Config) -> str:
    """Return why an item sees the others, as attention over the batch does; a permutation would not show that."""
    net, noisy = _built(cls).eval(), _noise(3, 1, WINDOW_SAMPLES)
    with torch.no_grad():
        together = net(torch.cat((noisy[:1], 50 * noisy[1:])))[:1]
        return _differs(together, net(noisy[:1]))


def survives_silence(cls: Config) -> str:
    """Return why silence gives values or gradients that are not finite."""

    def problem_at(training: bool) -> str:
        net, mode = cls().build().train(training), "training" if training else "evaluation"
        estimate = net(torch.zeros(2, 1, 200))
        if not estimate.isfinite().all():
            return f"{mode}: the estimate of silence is not finite"
        if _parameters(net):
            estimate.sum().backward()
        bad = [name for name, p in net.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        return f"{mode}: the gradient of {bad[0]} at silence is not finite" if bad else ""

    return _first(map(problem_at, (True, False)))


def repeats_itself(cls: Config) -> str:
    """Return why two forward passes in evaluation are not equal to the bit."""
    net, noisy = _built(cls, 2).eval(), _noise(2, 2, WINDOW_SAMPLES)
    with torch.no_grad():
        return "" if torch.equal(net(noisy), net(noisy)) else "two passes over one window differ"


def can_be_saved_and_copied(cls: Config) -> str:
    """Return why a copy, a pickle or the loaded state_dict gives other estimates."""
    net, noisy = _built(cls).eval(), _noise(2, 1, WINDOW_SAMPLES)
    others = [name for name, value in net.state_dict().items() if not isinstance(value, Tensor)]
    if others:
        return f"the state_dict holds {others[0]}, which is no tensor"
    loaded = cls().build().eval()
    loaded.load_state_dict(net.state_dict())
    copies = {"state_dict": loaded, "copy": copy.deepcopy(net), "pickle": pickle.loads(pickle.dumps(net))}
    with torch.no_grad():
        wrong = [name for name, other in copies.items() if not torch.equal(other(noisy), net(noisy))]
    return f"the {wrong[0]} gives another estimate" if wrong else ""


def seeds_decide_weights(cls: Config) -> str:
    """Return why the same seed of torch builds other weights."""
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(cls().build().state_dict())
    if nets[0].keys() != nets[1].keys():
        return "two models of one config have other tensors"
    other = [name for name in nets[0] if not torch.equal(nets[0][name], nets[1][name])]
    return f"{other[0]} differs between two models that were built with the same seed" if other else ""


def refuses_other_shapes(cls: Config) -> str:
    """Return why an input without a channel axis or without samples is not refused in one line."""
    if not _parameters(cls().build()):
        return ""

    def problem_at(shape: tuple[int, ...]) -> str:
        try:
            cls().build()(torch.zeros(shape))
        except ValueError as error:
            return "" if "\n" not in str(error) else f"shape {shape}: the error has more than one line"
        return f"shape {shape} is accepted"

    return _first(map(problem_at, ((2, 200), (1, 1, 0))))


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model's mean squared error per sample of the window, [time], and RMS of estimate over RMS of clean."""

    error: Tensor
    rms_ratio: float

    @property
    def middle(self) -> float:
        """The RMS error of the middle half of the window."""
        return float(self.error[WINDOW_SAMPLES // 4 : -WINDOW_SAMPLES // 4].mean().sqrt())


def _easy_task(n_windows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return (noisy, clean), each [window, 1, time]."""
    n_long = 3 * WINDOW_SAMPLES
    spectrum = torch.fft.rfft(torch.randn(n_windows, 1, n_long, generator=generator))
    hz = torch.fft.rfftfreq(n_long, 1 / RATE_HZ)
    in_band = torch.fft.irfft(spectrum * ((hz > 25) & (hz < 55)), n_long)
    # Cut from a longer signal: the ends of an inverse FFT would meet, which those of no recording do.
    clean = 0.6 * in_band[..., WINDOW_SAMPLES : 2 * WINDOW_SAMPLES]
    return clean + 0.2 * torch.randn(clean.shape, generator=generator), clean


def _loss_of(net: nn.Module, noisy: Tensor, clean: Tensor) -> Tensor:
    own = getattr(net, "training_loss", None)
    loss: Tensor = own(noisy, clean) if own else (net(noisy) - clean).abs().mean()
    return loss


@functools.cache  # three rules look at one training
def _trained(cls: Any) -> Trained | None:
    """Train a model of the default config on the easy task; None for a model without parameters."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    net = cls().build().train()
    if not _parameters(net):
        return None
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(N_STEPS):
        loss = _loss_of(net, *_easy_task(8, generator))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimiser.step()
    noisy, clean = _easy_task(64, generator)
    with torch.no_grad():
        estimate = net.eval()(noisy)
    ratio = estimate.square().mean().sqrt() / clean.square().mean().sqrt()
    return Trained((estimate - clean).square().mean(dim=(0, 1)), float(ratio))


def ends_are_like_the_middle(cls: Config) -> str:
    """Return why the RMS error of the outer 64 ms of a window, each end by itself, is too large."""
    found = _trained(cast(Hashable, cls))
    if found is None:
        return ""
    n = round(END_S * RATE_HZ)
    worst = max(float(end.mean().sqrt()) for end in (found.error[:n], found.error[-n:])) / found.middle
    return "" if worst <= MAX_END_ERROR else f"an end has {worst:.2f} times the error of the middle"


def ends_do_not_spike(cls: Config) -> str:
    """Return why the RMS error of the first or last sample is too large; over 64 windows it is known to about 10 %."""
    found = _trained(cast(Hashable, cls))
    if found is None:
        return ""
    worst = float(max(found.error[0], found.error[-1]).sqrt()) / found.middle
    return "" if worst <= MAX_SPIKE else f"an end sample has {worst:.2f} times the error of the middle"


def amplitude_stays(cls: Config) -> str:
    """Return why the RMS of a trained estimate is too far from that of the clean signal."""
    found = _trained(cast(Hashable, cls))
    if found is None or RMS_RATIO[0] <= found.rms_ratio <= RMS_RATIO[1]:
        return ""
    return f"after {N_STEPS} steps the estimate has {found.rms_ratio:.2f} times the RMS of the clean signal"


def runs_in_bf16(cls: Config) -> str:
    """Return why autocast to bf16 gives values or gradients that are not finite, or an error."""
    net = cls().build(2)
    noisy, clean = _easy_task(2, torch.Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16):
        estimate = net(noisy.repeat(1, 2, 1))
    if wrong := _shape(estimate, tuple(clean.shape), "bf16"):
        return wrong
    if _parameters(net):
        (estimate.float() - clean).square().mean().backward()
    bad = [name for name, p in net.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"the gradient of {bad[0]} in bf16 is not finite" if bad else ""


RULES_OF_TRAINED: tuple[Rule, ...] = (
    (
        f"the error at the ends of a window is at most {MAX_END_ERROR:g} times that of the middle",
        ends_are_like_the_middle,
        "pad by repeating the end samples (models.parts.layers.SameConv), not with zeros; add a margin (run_padded)",
    ),
    (
        f"the error of the first and last sample is at most {MAX_SPIKE:g} times that of the middle",
        ends_do_not_spike,
        "add a margin of reflected samples: models.parts.layers.run_padded(..., margin_samples=32)",
    ),
    (
        f"40 steps on an easy task give {RMS_RATIO[0]:g} to {RMS_RATIO[1]:g} times the RMS of the clean signal",
        amplitude_stays,
        "check the scale of the output layer and the normalisations; the model must not begin near silence",
    ),
)
RULES: tuple[Rule, ...] = (
    (
        "every config drawn from the ranges builds a model that runs",
        sampled_configs_run,
        "raise ValueError in __post_init__ for values that do not fit together, or narrow the ranges",
    ),
    (
        "a window of any length, from one sample, keeps its length, as float32",
        keeps_any_length,
        "run the model by models.parts.layers.run_padded, which pads to a multiple and crops",
    ),
    (
        "1 to 6 input channels give one channel",
        takes_any_channels,
        "use build's n_channels for the first layer; channel 0 is the one to denoise",
    ),
    ("the input is not changed", leaves_its_input, "copy before operations in place (x = x + y, not x += y)"),
    (
        "the gradient reaches every trainable parameter",
        gradient_reaches_parameters,
        "remove layers that do not act on the estimate, and biases before a normalisation",
    ),
    (
        "12 steps lower the loss on one batch by 3 %",
        learns_a_batch,
        "check the graph from input to output: no detach(), no no_grad(), no saturated output",
    ),
    (
        "a permuted batch gives permuted estimates",
        permutes_with_the_batch,
        "keep the axes [batch, channel, time] in reshapes and attention (batch_first=True)",
    ),
    (
        "an item of a batch does not depend on the others in evaluation",
        items_are_independent,
        "attend and normalise within an item; set batch_first=True",
    ),
    (
        "silence gives finite values and gradients",
        survives_silence,
        "add a small constant before divisions, logarithms and square roots",
    ),
    ("two passes in evaluation are equal", repeats_itself, "draw no random numbers in evaluation (self.training)"),
    (
        "state_dict, deepcopy and pickle give equal estimates",
        can_be_saved_and_copied,
        "register every tensor as parameter or buffer, and use no lambdas or local classes as attributes",
    ),
    (
        "torch's seed decides the initial weights",
        seeds_decide_weights,
        "draw initial weights from torch's global generator, in build()",
    ),
    (
        "an input that is not [batch, channel, time] with samples is refused by a ValueError of one line",
        refuses_other_shapes,
        "call models.parts.layers.check_input(noisy) first; run_padded does",
    ),
    (
        "the forward pass runs in bf16",
        runs_in_bf16,
        "leave autocast for FFTs, solvers and complex numbers: torch.autocast(device, enabled=False) and .float()",
    ),
    *RULES_OF_TRAINED,
)
