"""An exported model gives by onnxruntime what `apply` gives by PyTorch, for every family, with and without `front`."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from data.config import DataConfig, Source
from data.errors import DataError
from data.filters import bandpass
from models import DENOISERS
from models.base import DenoiserConfig
from models.beats import BeatsConfig
from models.front import FrontConfig
from models.live import LiveConfig
from training.config import RunConfig
from training.errors import ConfigError
from training.onnx.check import MAX_ERROR, generated_windows, inputs_for, parity, ran, session
from training.onnx.export import ESTIMATE, SOUNDS, exported, metadata_of
from training.onnx.path import BandPass, WholePath

# Small enough to be traced in a second or two.
TINY: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "autoencoder": {"levels": 2, "width": 4, "kernel": 3},
        "canceller": {"taps": 3, "filters": 8, "width": 8, "hidden": 8, "blocks": 1},
        "conformer": {"window_samples": 32, "width": 16, "encoder_layers": 1, "nhead": 2, "feed_forward": 16},
        "conv_transformer": {"halvings": 1, "width": 8, "blocks": 1, "encoder_layers": 1, "nhead": 2},
        "demucs": {"levels": 2, "width": 4, "kernel": 3, "bottleneck_layers": 2},
        "diffusion": {"steps": 2, "levels": 1, "width": 8, "encoder_layers": 0},
        "identity": {},
        "pixel_shuffle": {"levels": 2, "width": 4},
        "pixel_shuffle_transformer": {"levels": 2, "width": 4, "encoder_layers": 1, "nhead": 2},
        "s4d": {"width": 8, "layers": 1, "n_states": 4},
        "tcn_mask": {"filters": 8, "width": 8, "hidden": 8, "blocks": 1, "repeats": 1},
        "tf_mask": {"window_samples": 32, "stem_layers": 0, "width": 16, "encoder_layers": 1, "nhead": 2},
        "two_stage_transformer": {"levels": 2, "width": 20, "encoder_layers": 1, "time_heads": 4, "entry": "none"},
        "wave_unet": {"levels": 2, "width": 4},
        "wave_unet_transformer": {"levels": 2, "width": 4, "encoder_layers": 1, "nhead": 2, "entry": "none"},
    }
)
AUTOENCODER = DENOISERS["autoencoder"](**TINY["autoencoder"])
Made = Callable[..., RunConfig]


@pytest.fixture
def made(make_run: Made, data: DataConfig) -> Made:
    """Makes a run of a model for windows of 480 samples of two channels."""
    named = tuple(dataclasses.replace(source, channels=("z", "x")) for source in data.noise)
    two = dataclasses.replace(data, noise=named, window_samples=480)

    def run(model: DenoiserConfig, **sections: Any) -> RunConfig:
        plain = make_run(model=model, data=two)
        return dataclasses.replace(plain, **sections)

    return run


def path_of(run: RunConfig) -> WholePath:
    """The whole path of a run with weights that let every part be seen in the output."""
    torch.manual_seed(0)
    path = WholePath(run.build_model(run.data.n_channels), run.data).eval()
    for part in path.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
    return path


def error_of(run: RunConfig, *, fixed: bool) -> float:
    path = path_of(run)
    model = exported(path, run, fixed=fixed)
    return parity(session(model.SerializeToString()), path, run.data, fixed=fixed)


def test_every_family_is_tested() -> None:
    assert set(TINY) == set(DENOISERS)


@pytest.mark.parametrize("name", TINY)
def test_every_family_behind_the_front_end_equals_pytorch(name: str, made: Made) -> None:
    run = made(DENOISERS[name](**TINY[name]), front=FrontConfig(filter_taps=3))
    assert error_of(run, fixed=True) <= MAX_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_family_equals_pytorch_for_any_batch_and_length(name: str, made: Made) -> None:
    """With its own length alone where the family has to."""
    assert error_of(made(DENOISERS[name](**TINY[name])), fixed=False) <= MAX_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TINY if name != "identity"])
def test_every_family_at_its_defaults_equals_pytorch(name: str, made: Made) -> None:
    assert error_of(made(DENOISERS[name]()), fixed=True) <= MAX_ERROR


def test_any_length_and_batch_are_taken(made: Made) -> None:
    """From the shortest window that can be filtered up, multiples of the strides or not."""
    run = made(AUTOENCODER)
    path = path_of(run)
    running = session(exported(path, run).SerializeToString())
    for n_windows, n_samples in ((1, path.min_samples), (3, 101), (2, 1000)):
        noisy = generated_windows(run.data, n_windows, n_samples)
        with torch.no_grad():
            wanted = path(torch.from_numpy(noisy)).numpy()
        got = ran(running, inputs_for(path, noisy))[ESTIMATE]
        assert got.shape == (n_windows, n_samples)
        assert np.abs(got - wanted).max() <= MAX_ERROR * np.abs(wanted).max()


@pytest.mark.parametrize("passes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_network_for_beats_is_a_second_output(passes: int, made: Made) -> None:
    beats = BeatsConfig(beats_weight=1.0, beats_width=16, beats_layers=1, beats_nhead=2, beats_passes=passes)
    run = made(AUTOENCODER, beats=beats)
    path = path_of(run)
    model = exported(path, run, fixed=True)
    running = session(model.SerializeToString())
    assert [output.name for output in running.get_outputs()] == [ESTIMATE, SOUNDS]
    assert parity(running, path, run.data, fixed=True) <= MAX_ERROR


@pytest.mark.parametrize("n_samples", [26, 27, 480])
def test_the_band_pass_is_that_of_the_recordings(n_samples: int) -> None:
    """Also on the gravity of a sensor, which is far above the signal."""
    band = BandPass(250.0, 25.0, 55.0)
    assert band.min_samples == 26
    noisy = np.random.default_rng(0).standard_normal((2, 3, n_samples)).astype(np.float32) + np.float32(9.81)
    wanted = bandpass(noisy, 250.0, 25.0, 55.0)
    got = band(torch.from_numpy(noisy)).numpy()
    assert np.abs(got - wanted).max() <= 2e-6 * np.abs(wanted).max()
    with pytest.raises(DataError):
        bandpass(noisy[..., :25], 250.0, 25.0, 55.0)


def test_metadata_say_what_the_model_takes_and_where_it_is_from(made: Made, tmp_path: Any) -> None:
    run = made(DENOISERS["two_stage_transformer"](**TINY["two_stage_transformer"]))
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    got = metadata_of(path_of(run), run, tmp_path, fixed=False, precision="fp32")
    assert got["length"] == "fixed: the number of stretches depends on it"
    assert (got["rate_hz"], json.loads(got["band_hz"]), json.loads(got["channels"])) == (
        "250.0",
        [25.0, 55.0],
        ["z", "x"],
    )
    assert (got["window_samples"], got["shift_samples"], float(got["delay_s"])) == ("480", "0", 480 / 250)
    assert got["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_an_exported_model_names_no_file_of_the_machine_it_was_made_on(made: Made) -> None:
    run = made(DENOISERS["identity"]())
    model = exported(path_of(run), run, fixed=True)
    onnx.checker.check_model(model)
    assert b".py" not in model.SerializeToString()


class Sorting(nn.Module):
    """A model whose operator ONNX does not have."""

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        least: torch.Tensor = torch.linalg.eigvalsh(noisy @ noisy.transpose(1, 2))[:, :1, None]
        return least * noisy[:, :1]


def test_a_model_with_an_operator_that_onnx_lacks_is_refused_in_one_line(made: Made) -> None:
    run = made(AUTOENCODER)
    path = WholePath(Sorting(), run.data)
    with pytest.raises(ConfigError, match="autoencoder: cannot be exported to ONNX") as refused:
        exported(path, run, fixed=True)
    assert "\n" not in str(refused.value)


def test_sources_without_names_leave_the_channels_open(make_run: Made, tmp_path: Any) -> None:
    run = make_run()
    assert isinstance(run.data.noise[0], Source)
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    assert metadata_of(path_of(run), run, tmp_path, fixed=True, precision="fp32")["channels"] == "null"


@pytest.mark.parametrize("name", ["conformer", "tcn_mask"])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_causal_model_equals_pytorch_and_says_its_delay(name: str, fixed: bool, made: Made, tmp_path: Path) -> None:
    """By the causal band-pass, and without the scale of a window."""
    run = made(
        DENOISERS[name](**TINY[name]), live=LiveConfig(causal=True, past_s=1.0), front=FrontConfig(filter_taps=3)
    )
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, band_phase="minimum"))
    assert error_of(run, fixed=fixed) <= MAX_ERROR
    path = path_of(run)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    metadata = metadata_of(path, run, tmp_path, fixed=fixed, precision="fp32")
    assert metadata["causal"] == "true"
    assert 0.1 < float(metadata["delay_s"]) < 0.5
