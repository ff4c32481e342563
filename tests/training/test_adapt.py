"""A model is adapted to a recording by its own estimates."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data.recording import Recording
from models import DENOISERS
from training.checkpoint import save_weights
from training.config import RunConfig, write_run
from training.denoising.adapt import BATCH, adapted, remixed
from training.denoising.denoise import Denoiser, denoise, load_denoiser
from training.errors import ConfigError
from training.trainer import WEIGHTS

MakeRun = Callable[..., RunConfig]
Heartbeat = Callable[..., Recording]


def saved(run: RunConfig, folder: Path) -> Denoiser:
    """Load a run with weights that were never trained."""
    write_run(run, folder / "run.yaml")
    save_weights(run.build_model(run.data.n_channels), folder / WEIGHTS)
    return load_denoiser(folder, "cpu")


@pytest.fixture
def denoiser(make_run: MakeRun, tmp_path: Path) -> Denoiser:
    return saved(make_run(), tmp_path / "run")


def weights(denoiser: Denoiser) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in denoiser.model.state_dict().values()])


def test_the_model_learns_and_the_one_given_stays(denoiser: Denoiser, heart: Heartbeat, tmp_path: Path) -> None:
    """Equal recordings give equal weights, others give others; nothing is written to the run."""
    recordings = [heart(i, tmp_path / f"{i}.npz", seconds=20.0) for i in range(2)]
    before, files = weights(denoiser), {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    said: list[tuple[int, int]] = []
    first, again, other = (
        adapted(denoiser, recording, 2, lambda *done: said.append(done))
        for recording in (recordings[0], recordings[0], recordings[1])
    )
    assert said == 3 * [(1, 2), (2, 2)]
    assert torch.equal(weights(denoiser), before)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), before) and not torch.equal(weights(first), weights(other))
    assert first.calibration.fitted_on is None
    assert not np.array_equal(denoise(first, recordings[0]).signals, denoise(denoiser, recordings[0]).signals)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == files


def test_no_steps_change_nothing(denoiser: Denoiser, heart: Heartbeat, tmp_path: Path) -> None:
    assert adapted(denoiser, heart(0, tmp_path / "a.npz", seconds=1.0), 0) is denoiser


def test_what_cannot_be_adapted_is_refused(
    denoiser: Denoiser, make_run: MakeRun, heart: Heartbeat, tmp_path: Path
) -> None:
    long, short = heart(0, tmp_path / "a.npz", seconds=20.0), heart(0, tmp_path / "short.npz", seconds=1.0)
    with pytest.raises(ConfigError, match=r"adapt is -1; a number of steps from 0 up"):
        adapted(denoiser, long, -1)
    with pytest.raises(ConfigError, match=r"short.npz: 1.0 s; a model adapts to a recording of at least 1.5 windows"):
        adapted(denoiser, short, 1)
    with pytest.raises(ConfigError, match=r"identity has no weights to adapt"):
        adapted(saved(make_run(model=DENOISERS["identity"]()), tmp_path / "identity"), long, 1)


def test_a_batch_is_estimates_with_the_rest_of_other_windows() -> None:
    """The clean part is a piece of the estimate; the rest, with its references, is a piece of what is no estimate."""
    window, generator = 64, torch.Generator().manual_seed(3)
    signals = torch.randn((3, 500), generator=generator)
    estimate = torch.randn(500, generator=generator)
    noise = signals.clone()
    noise[0] -= estimate
    batch = remixed(signals, estimate, window, generator, torch.device("cpu"))
    clean, rest = (
        batch.clean * batch.scale,
        (batch.noisy - torch.nn.functional.pad(batch.clean, (0, 0, 0, 2))) * batch.scale,
    )
    assert clean.shape == (BATCH, 1, window) and rest.shape == (BATCH, 3, window)
    places = []
    for of_window, of_recording in ((clean, estimate[None]), (rest, noise)):
        pieces = of_recording.unfold(1, window, 1).transpose(0, 1)
        distance = (of_window[:, None] - pieces[None]).abs().amax((2, 3))
        assert distance.amin(1).max() < 1e-5
        places.append(distance.argmin(1))
    assert len(set(places[0].tolist())) > 1 and not torch.equal(*places)
