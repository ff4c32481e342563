"""What every loss and every metric must do, as rules: (text, function, advice); see training.plugins.contract.

A function takes the config class of a loss, or the MetricSpec of a metric, and returns the problem, "" where there is
none.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from objectives.losses import LossConfig
from objectives.metrics import MetricSpec

Loss = type[LossConfig]
LossRule = tuple[str, Callable[[Loss], str], str]
MetricRule = tuple[str, Callable[[MetricSpec], str], str]

LEVELS = (0.0, 1e-30, 1e-20, 1e-10, 1e-5)  # near silence
SHORT = (1, 7, 100)  # samples of windows
N_STEPS = 60
GAINED_DB = 6.0
MIN_PENALTY = 0.01  # of a wrong polarity


def _signals(batch: int = 4, time: int = 400) -> tuple[Tensor, Tensor]:
    """Return a random estimate and a clean signal, both [batch, 1, time] and well within (-1, 1)."""
    estimate, clean = 0.2 * torch.randn(2, batch, 1, time, generator=torch.Generator().manual_seed(0))
    return estimate, clean


def _value(cls: Loss, estimate: Tensor, clean: Tensor) -> float:
    return float(cls().build()(estimate, clean))


def _gradient(cls: Loss, estimate: Tensor, clean: Tensor) -> Tensor:
    estimate = estimate.clone().requires_grad_()
    cls().build()(estimate, clean).backward()
    assert estimate.grad is not None
    return estimate.grad


def _first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def is_lowest_at_the_clean_signal(cls: Loss) -> str:
    """Return why the loss is no finite scalar, or is not lower at the clean signal than elsewhere."""
    estimate, clean = _signals()
    lowest, other = cls().build()(clean, clean), cls().build()(estimate, clean)
    if lowest.shape != () or other.shape != ():
        return f"the loss has the shape {tuple(other.shape)}, not that of a scalar"
    if not (lowest.isfinite() and other.isfinite()):
        return f"the loss is {float(lowest):g} at the clean signal and {float(other):g} at another"
    return "" if other > lowest else f"the clean signal costs {float(lowest):g}, another one {float(other):g}"


def gradient_reaches_samples(cls: Loss) -> str:
    """Return why the gradient does not reach every sample of a random estimate."""
    gradient = _gradient(cls, *_signals())
    if not gradient.isfinite().all():
        return "the gradient is not finite"
    share = float((gradient != 0).float().mean())
    return "" if share > 0.99 else f"the gradient is zero at {1 - share:.0%} of the samples"


def survives_near_silence(cls: Loss) -> str:
    """Return why value or gradient is not finite near silence, on either side."""
    estimate, clean = _signals()

    def problem_at(level: float) -> str:
        for e, c in ((level * estimate, clean), (estimate, level * clean), (level * estimate, level * clean)):
            if not math.isfinite(_value(cls, e, c)):
                return f"the value is not finite at the level {level:g}"
            if not _gradient(cls, e, c).isfinite().all():
                return f"the gradient is not finite at the level {level:g}"
        return ""

    return _first(map(problem_at, LEVELS))


def silent_windows_do_no_harm(cls: Loss) -> str:
    """Return why a silent clean window takes the others' gradient, or does not pull its own estimate to silence."""
    estimate, clean = _signals()
    clean[1] = 0
    gradient = _gradient(cls, estimate, clean)
    if not gradient.isfinite().all():
        return "the gradient is not finite"
    if not (gradient[0] != 0).any():
        return "the other windows have no gradient"
    return "" if (gradient[1] != 0).any() else "the silent window does not pull its estimate to silence"


def leaves_silence(cls: Loss) -> str:
    """Return why a step down the slope at silence does not lead towards the clean signal."""
    _, clean = _signals()
    slope = float((_gradient(cls, torch.zeros_like(clean), clean) * clean).sum())
    return "" if slope < 0 else f"the slope from silence towards the clean signal is {slope:.2g}, not negative"


def knows_polarity(cls: Loss) -> str:
    """Return why the mirror image of the clean signal costs no more than the clean signal."""
    _, clean = _signals()
    more = _value(cls, -clean, clean) - _value(cls, clean, clean)
    return "" if more > MIN_PENALTY else f"the mirror image of the clean signal costs {more:.2g} more"


def repeats_itself(cls: Loss) -> str:
    """Return why value and gradient do not repeat to the bit."""
    estimate, clean = _signals()
    same = torch.equal(_gradient(cls, estimate, clean), _gradient(cls, estimate, clean))
    return "" if same and _value(cls, estimate, clean) == _value(cls, estimate, clean) else "two calls differ"


def takes_short_windows(cls: Loss) -> str:
    """Return why windows that are shorter than any STFT or wavelet give no finite value and gradient."""

    def problem_at(time: int) -> str:
        estimate, clean = _signals(time=time)
        finite = math.isfinite(_value(cls, estimate, clean)) and _gradient(cls, estimate, clean).isfinite().all()
        return "" if finite else f"value or gradient is not finite for {time} samples"

    return _first(map(problem_at, SHORT))


def ignores_the_order(cls: Loss) -> str:
    """Return why the order of the windows in a batch matters."""
    estimate, clean = _signals()
    order = torch.tensor([2, 0, 3, 1])
    one, other = _value(cls, estimate, clean), _value(cls, estimate[order], clean[order])
    return "" if math.isclose(one, other, rel_tol=1e-6) else f"{one:g} in one order, {other:g} in another"


def is_the_mean_of_windows(cls: Loss) -> str:
    """Return why a window does not cost the same in every batch."""
    estimate, clean = _signals(batch=2)
    clean[1] *= 30
    alone = [_value(cls, estimate[i : i + 1], clean[i : i + 1]) for i in range(2)]
    together = _value(cls, estimate, clean)
    same = math.isclose(together, sum(alone) / 2, rel_tol=1e-5)
    return "" if same else f"two windows cost {together:g} together, {sum(alone) / 2:g} on average alone"


def falls_with_the_error(cls: Loss) -> str:
    """Return why closer estimates do not cost less."""
    noise, clean = _signals()
    costs = [_value(cls, clean + gain * noise, clean) for gain in (2.0, 1.0, 0.5, 0.1, 0.01)]
    falls = all(one > other for one, other in itertools.pairwise(costs))
    return "" if falls else f"noise of gain 2, 1, 0.5, 0.1, 0.01 costs {', '.join(f'{cost:.4g}' for cost in costs)}"


def cleans_by_descent(cls: Loss) -> str:
    """Return why steps of Adam on the samples themselves do not bring the noisy signal towards the clean one."""
    noise, clean = _signals()
    estimate, loss = (clean + noise).requires_grad_(), cls().build()
    optimiser = torch.optim.Adam([estimate], lr=0.01)
    for _ in range(N_STEPS):
        optimiser.zero_grad()
        loss(estimate, clean).backward()
        optimiser.step()
    error = float((estimate.detach() - clean).square().mean() / noise.square().mean())
    gained_db = -10 * math.log10(max(error, 1e-12))
    return "" if gained_db > GAINED_DB else f"{N_STEPS} steps bring {gained_db:.1f} dB, not {GAINED_DB:g}"


def refuses_other_shapes(cls: Loss) -> str:
    """Return why shapes that would broadcast are not refused in one line."""
    estimate, clean = _signals()
    try:
        cls().build()(estimate, clean[:, 0])
    except ValueError as error:
        return "" if "\n" not in str(error) else "the error has more than one line"
    return "shapes (4, 1, 400) and (4, 400) are accepted"


def is_computed_in_float32(cls: Loss) -> str:
    """Return why half precision is not raised to float32 or wider."""
    estimate, clean = _signals()
    found = cls().build()(estimate.to(torch.bfloat16), clean).dtype
    return "" if found in (torch.float32, torch.float64) else f"an estimate in bfloat16 gives a loss in {found}"


def ignores_autocast(cls: Loss) -> str:
    """Return why autocast, which a training step computes its loss in, lowers the precision."""
    estimate, clean = _signals()
    plain = _gradient(cls, estimate, clean)
    with torch.autocast("cpu", torch.bfloat16):
        cast = _gradient(cls, estimate, clean)
    return "" if torch.equal(cast, plain) else "the gradient under autocast differs"


def has_no_parameters(cls: Loss) -> str:
    """Return why the module cannot be copied, or is trained itself."""
    loss = copy.deepcopy(cls().build())
    if list(loss.parameters()):
        return "the module has parameters, which nothing trains"
    return "" if math.isfinite(float(loss(*_signals()))) else "the copy gives no finite value"


LOSS_RULES: tuple[LossRule, ...] = (
    (
        "the loss is a finite scalar, lowest where the estimate is the clean signal",
        is_lowest_at_the_clean_signal,
        "take the mean over the batch, and a distance that grows with the error",
    ),
    (
        "the gradient reaches every sample",
        gradient_reaches_samples,
        "add an L1 term with a small weight (objectives.losses.peak_weighted_l1)",
    ),
    (
        "value and gradient are finite near silence",
        survives_near_silence,
        "add a small share of the clean energy before divisions, logarithms and square roots",
    ),
    (
        "a silent clean window does no harm to the others and pulls its estimate to silence",
        silent_windows_do_no_harm,
        "mask windows without energy with torch.where on both sides of the division, and add an L1 term",
    ),
    (
        "a step from silence leads towards the clean signal",
        leaves_silence,
        "add an L1 term: correlations have no gradient at silence",
    ),
    ("polarity matters", knows_polarity, "add an L1 term: magnitudes and SI-SDR do not depend on the sign"),
    ("value and gradient repeat to the bit", repeats_itself, "draw no random numbers in the loss"),
    ("windows of 1, 7 and 100 samples are taken", takes_short_windows, "pad before an STFT or a filter"),
    (
        "the order of the windows does not matter",
        ignores_the_order,
        "compute each window by itself and take the mean",
    ),
    (
        "a window costs the same in every batch",
        is_the_mean_of_windows,
        "normalise within a window (dim=-1), not over the batch",
    ),
    ("closer estimates cost less", falls_with_the_error, "check the sign of each term"),
    (
        f"{N_STEPS} steps on the samples themselves bring {GAINED_DB:g} dB",
        cleans_by_descent,
        "balance the terms, so that one does not hide the gradient of the others",
    ),
    (
        "shapes that would broadcast are refused by a ValueError of one line",
        refuses_other_shapes,
        "return objectives.losses.Loss(function) from build(); it checks",
    ),
    (
        "the loss is computed in float32 or wider",
        is_computed_in_float32,
        "return objectives.losses.Loss(function) from build(); it casts",
    ),
    (
        "autocast does not lower the precision",
        ignores_autocast,
        "compute products in a block torch.autocast(device, enabled=False)",
    ),
    (
        "the module can be copied and has no parameters",
        has_no_parameters,
        "make constants buffers (register_buffer), not parameters",
    ),
)


def _mixture(snr_db: float, shape: tuple[int, ...] = (3, 2000)) -> tuple[Tensor, Tensor]:
    """Return (noisy, clean), [..., time], with noise orthogonal to clean at exactly `snr_db`."""
    clean, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise -= (noise * clean).sum(-1, keepdim=True) / clean.square().sum(-1, keepdim=True) * clean
    noise *= clean.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    return clean + 10 ** (-snr_db / 20) * noise, clean


def _is_better(spec: MetricSpec, values: Tensor, than: Tensor) -> Tensor:
    return values > than if spec.direction == "maximize" else values < than


def scores_windows(spec: MetricSpec) -> str:
    """Return why a metric does not give one float64 for each window, from the window alone."""
    noisy, clean = _mixture(0.0, (2, 3, 500))
    values = spec.function(0.5 * noisy, noisy, clean)
    if tuple(values.shape) != (2, 3) or values.dtype != torch.float64:
        return f"windows [2, 3, 500] give {values.dtype} {tuple(values.shape)}, not float64 (2, 3)"
    alone = spec.function(0.5 * noisy[1, 2], noisy[1, 2], clean[1, 2])
    same = math.isclose(float(values[1, 2]), float(alone), rel_tol=1e-6, abs_tol=1e-12)
    return "" if same else f"a window scores {float(values[1, 2]):g} among others and {float(alone):g} alone"


def follows_its_direction(spec: MetricSpec) -> str:
    """Return why a better estimate does not score better in the metric's direction."""
    if spec.direction not in ("maximize", "minimize"):
        return f"direction is {spec.direction!r}; maximize or minimize is needed"
    good, clean = _mixture(10.0)
    bad, _ = _mixture(-10.0)
    better = _is_better(spec, spec.function(good, bad, clean), spec.function(bad, bad, clean))
    return "" if better.all() else f"an estimate at 10 dB does not score better than one at -10 dB ({spec.direction})"


def states_what_silence_does(spec: MetricSpec) -> str:
    """Return why silence beats the noisy input at -10 dB though the metric says that it does not, or the reverse."""
    noisy, clean = _mixture(-10.0)
    won = _is_better(spec, spec.function(torch.zeros_like(clean), noisy, clean), spec.function(noisy, noisy, clean))
    if (won == spec.silence_wins).all():
        return ""
    return f"at -10 dB silence {'wins' if won.any() else 'loses'}, and silence_wins is {spec.silence_wins}"


def never_rewards_broken_estimates(spec: MetricSpec) -> str:
    """Return why an estimate that is not finite scores NaN, or no worse than the noisy input."""
    noisy, clean = _mixture(-20.0)
    identity = spec.function(noisy, noisy, clean)

    def problem_at(value: float) -> str:
        broken = clean.clone()
        broken[:, 7] = value
        scores = spec.function(broken, noisy, clean)
        if scores.isnan().any():
            return f"an estimate with {value} scores NaN"
        return "" if _is_better(spec, identity, scores).all() else f"an estimate with {value} scores as well as noise"

    return _first(map(problem_at, (math.nan, math.inf, -math.inf)))


def takes_silent_windows(spec: MetricSpec) -> str:
    """Return why a silent clean window scores NaN."""
    noisy, clean = _mixture(0.0)
    return "NaN for a silent clean window" if spec.function(noisy, noisy, 0 * clean).isnan().any() else ""


def refuses_broadcasting(spec: MetricSpec) -> str:
    """Return why shapes that would broadcast are not refused in one line."""
    noisy, clean = _mixture(0.0)
    try:
        spec.function(noisy, noisy, clean[:1])
    except ValueError as error:
        return "" if "\n" not in str(error) else "the error has more than one line"
    return "shapes (3, 2000) and (1, 2000) are accepted"


def repeats_its_scores(spec: MetricSpec) -> str:
    """Return why two calls differ, or the input is changed."""
    noisy, clean = _mixture(0.0)
    before = noisy.clone(), clean.clone()
    same = torch.equal(spec.function(noisy, noisy, clean), spec.function(noisy, noisy, clean))
    if not same:
        return "two calls differ"
    return "" if torch.equal(noisy, before[0]) and torch.equal(clean, before[1]) else "the input is changed"


METRIC_RULES: tuple[MetricRule, ...] = (
    (
        "one float64 for each window, from the window alone",
        scores_windows,
        "convert with .to(torch.float64) and reduce over dim=-1 only",
    ),
    ("a better estimate scores better", follows_its_direction, "check direction: maximize or minimize"),
    (
        "silence_wins is right",
        states_what_silence_does,
        "set silence_wins as found; a study cannot choose models by a metric that silence wins",
    ),
    (
        "an estimate that is not finite scores worse than the noisy input",
        never_rewards_broken_estimates,
        "replace NaN by the worst value: values.nan_to_num(worst, worst, worst)",
    ),
    (
        "a silent clean window gives no NaN",
        takes_silent_windows,
        "divide by torch.where(energy > 0, energy, 1.0), or give such windows the worst value",
    ),
    (
        "shapes that would broadcast are refused by a ValueError of one line",
        refuses_broadcasting,
        "call objectives.metrics.in_float64(estimate, clean), which checks",
    ),
    ("two calls give equal scores, and the input is not changed", repeats_its_scores, "draw no random numbers"),
)
