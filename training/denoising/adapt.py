"""Adapt a trained model to a recording without its clean signal.

The trained model is the teacher. It estimates the heart in windows of the recording; the rest of each window is noise.
The estimate of one window and the rest of another, with the references of that other, make a window whose clean signal
is known. A copy of the model learns from those (Tzinis et al. 2022, IEEE J. Sel. Topics Signal Process. 16:1329).
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from data.mixing.mixture import Batch, mix
from data.recording import Recording
from training.apply import conditioned
from training.calibration import without_fit
from training.denoising.denoise import Denoiser
from training.device import arithmetic, memory_errors, resolve_device
from training.errors import ConfigError
from training.learner import build_learner, loss_of
from training.passes import estimate_recording

BATCH = 8
LEAST_WINDOWS = 1.5
# Of the run's own learning rate: the weights are to stay near those that were trained on many recordings.
RATE_SHARE = 0.1
EMA_DECAY = 0.98


@memory_errors()
def adapted(
    denoiser: Denoiser,
    recording: Recording,
    n_steps: int,
    progress: Callable[[int, int], None] | None = None,
) -> Denoiser:
    """Return a denoiser whose model took `n_steps` steps of training on `recording`; `denoiser` stays as it is.

    The result depends on the recording, the run's seed and the number of steps alone. 0 steps return `denoiser`.

    recording: its channels are those of the model.
    progress: called after each step with the number of steps done and of all.

    Raises ConfigError for a negative number of steps, for a recording shorter than LEAST_WINDOWS windows of training
    and for a model without weights; DataError as training.apply.apply does.
    """
    check_steps(n_steps)
    if n_steps == 0:
        return denoiser
    run, device = denoiser.run, resolve_device(denoiser.device_name)
    signals_of = conditioned(recording, run.data)
    signals, window = torch.from_numpy(signals_of), run.data.window_samples
    if signals.shape[1] < LEAST_WINDOWS * window:
        raise ConfigError(
            f"{recording.source}: {recording.duration_s:.1f} s; a model adapts to a recording of at least "
            f"{LEAST_WINDOWS:g} windows ({LEAST_WINDOWS * window / run.data.rate_hz:.1f} s); leave adapt out"
        )
    own = replace(
        run,
        optimiser=replace(run.optimiser, learning_rate=RATE_SHARE * run.optimiser.learning_rate),
        fit=replace(run.fit, precision="fp32", ema_decay=EMA_DECAY),
    )
    with arithmetic(run.fit.seed, device, run.fit.threads):
        student = copy.deepcopy(denoiser.model)
        if not any(parameter.requires_grad for parameter in student.parameters()):
            raise ConfigError(f"{run.model.name} has no weights to adapt; leave adapt out")
        learner = build_learner(own, student, device, starts_anew=False)
        criterion = own.loss.build().to(device)
        generator = torch.Generator().manual_seed(run.fit.seed)
        found, _ = estimate_recording(denoiser.model, signals_of, run.data.rate_hz, window, device, BATCH)
        estimate = torch.from_numpy(found)
        for step in range(n_steps):
            batch = remixed(signals, estimate, window, generator, device)
            learner.model.train()
            learner.step(own, loss_of(learner.model, criterion, batch, "fp32"), step, n_steps)
            if progress is not None:
                progress(step + 1, n_steps)
    # A calibration belongs to the weights that it was fitted to.
    return replace(
        denoiser,
        model=learner.evaluated.eval(),
        calibration=without_fit(denoiser.calibration),
    )


def check_steps(n_steps: int) -> None:
    """Raise ConfigError for a negative number of steps."""
    if n_steps < 0:
        raise ConfigError(f"adapt is {n_steps}; a number of steps from 0 up is needed")


def remixed(signals: Tensor, estimate: Tensor, window: int, generator: torch.Generator, device: torch.device) -> Batch:
    """Return a batch: the estimate of one window with the rest of another.

    signals: float32[channel, time]. estimate: float32[time].
    """
    n_samples = signals.shape[1]
    starts = torch.randint(n_samples - window + 1, (2, BATCH), generator=generator)
    at = starts[..., None] + torch.arange(window)
    clean = estimate[at[0]][:, None]
    noise = signals[:, at[1]].transpose(0, 1).clone()
    noise[:, 0] -= estimate[at[1]]
    clean, noise = clean.to(device), noise.to(device)
    ones = torch.ones(BATCH, device=device)
    return mix(clean, noise, ones, clean[:, 0].abs().amax(-1), torch.full_like(ones, torch.nan))
