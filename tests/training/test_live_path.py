"""Causal runs: they train, and `apply` gives what the path gives as the recording arrives."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.config import DataConfig, Source
from data.corpus import load
from data.recording import Recording
from models.base import DenoiserConfig
from models.beats import BeatsConfig
from models.conformer import ConformerConfig
from models.front import FrontConfig
from models.live import LiveConfig
from models.parts.streaming import CausalDenoiser
from models.tcn_mask import TcnMaskConfig
from training.apply import apply
from training.checkpoint import load_fitting_weights, save_weights
from training.config import RunConfig, from_document, to_document
from training.delay import delay_of
from training.errors import ConfigError
from training.live.path import CausalPath, estimate_conditioned, path_of
from training.passes import estimate_recording
from training.report import EpochReport
from training.runs import load_model

CPU = torch.device("cpu")
CONFORMER = ConformerConfig(window_samples=32, width=32, encoder_layers=1, nhead=2, feed_forward=32)
TCN = TcnMaskConfig(stride=4, filters=16, width=8, hidden=16, blocks=2, repeats=1)
Made = Callable[..., RunConfig]


@pytest.fixture
def causal(make_run: Made, data: DataConfig) -> Made:
    """Makes a causal run of a model."""

    def made(model: DenoiserConfig = CONFORMER, **sections: object) -> RunConfig:
        plain = make_run(model=model, data=dataclasses.replace(data, band_phase="minimum"), epochs=2)
        return dataclasses.replace(plain, **({"live": LiveConfig(causal=True, past_s=2.0)} | sections))  # type: ignore[arg-type]

    return made


def model_of(run: RunConfig) -> CausalDenoiser:
    torch.manual_seed(0)
    model = run.build_model(run.data.n_channels)
    assert isinstance(model, CausalDenoiser)
    return model.eval()


def arriving(path: CausalPath, recording: Recording, sizes: list[int]) -> NDArray[np.float32]:
    """The estimate in chunks; after the end of the recording its last sample stays."""
    signals = np.concatenate([recording.signals, np.repeat(recording.signals[:, -1:], path.n_late, 1)], axis=1)
    state, parts, start, i = path.initial(), [], 0, 0
    while start < signals.shape[1]:
        part, state = path.step(signals[:, start : start + sizes[i % len(sizes)]], state)
        parts.append(part)
        start, i = start + sizes[i % len(sizes)], i + 1
    return np.concatenate(parts)[: recording.signals.shape[1]]


@pytest.mark.parametrize("model", [CONFORMER, TCN], ids=lambda model: model.name)
@pytest.mark.parametrize("rate_hz", [250.0, 1000.0, 333.0])
@settings(max_examples=5, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5))
def test_in_any_chunks_and_at_any_rate_the_estimate_is_that_of_apply(
    model: DenoiserConfig, rate_hz: float, sizes: list[int]
) -> None:
    config = DataConfig((Source(("c",)),), (Source(("n",)),), rate_hz=250.0, window_samples=1024, band_phase="minimum")
    torch.manual_seed(0)
    net = LiveConfig(causal=True).build(model, FrontConfig(), 1, 250.0).eval()
    rng = np.random.default_rng(1)
    signal = (9.81 + rng.standard_normal((1, round(6 * rate_hz)))).astype(np.float32)
    recording = Recording(signal, rate_hz, ("z",), Path("drive.csv"))
    whole = apply(net, recording, config, CPU)
    assert whole.shape == (signal.shape[1],) and np.abs(whole).max() > 1e-3
    found = arriving(path_of(net, config, 1, rate_hz, CPU), recording, sizes)
    np.testing.assert_allclose(found, whole, atol=1e-5)


@pytest.mark.parametrize("model", [CONFORMER, TCN], ids=lambda model: model.name)
def test_a_causal_run_trains_and_is_loaded_again(
    model: DenoiserConfig, causal: Made, reports: Callable[..., list[EpochReport]], tmp_path: Path
) -> None:
    run = causal(model)
    found = reports(run, load(run.data), tmp_path)
    assert all(np.isfinite(report.loss) for report in found)
    assert isinstance(load_model(run, tmp_path), CausalDenoiser)
    assert from_document(to_document(run), "run") == run


@pytest.mark.parametrize("filter_taps", [0, 9])
@pytest.mark.parametrize("model", [CONFORMER, TCN], ids=lambda model: model.name)
def test_a_causal_run_takes_the_weights_of_the_other_form_and_the_other_way_round(
    model: DenoiserConfig, filter_taps: int, causal: Made, tmp_path: Path
) -> None:
    """All tensors of the causal form are in the other form, and after both ways the estimate is the same."""
    run = causal(model, front=FrontConfig(filter_taps=filter_taps))
    offline_run = dataclasses.replace(run, live=LiveConfig(), beats=BeatsConfig(beats_weight=1.0, beats_width=32))
    torch.manual_seed(1)
    start, late, back, again = (each.build_model(2).eval() for each in (offline_run, run, offline_run, run))
    n_tensors = len(late.state_dict())
    for source, target in ((start, late), (late, back), (back, again)):
        save_weights(source, tmp_path / "weights.safetensors")
        assert load_fitting_weights(target, tmp_path / "weights.safetensors")[0] == n_tensors
    noisy = torch.randn(1, 2, 512)
    assert torch.equal(late(noisy), again(noisy))


def test_the_delay_that_is_stated_is_kept(causal: Made, heart: Callable[..., Recording]) -> None:
    """Samples after it change nothing, in the whole path at the recording's own rate."""
    run = causal()
    net, rate_hz = model_of(run), 1000.0
    recording = heart(0, Path("h.csv"), seconds=6.0, rate_hz=rate_hz)
    at = 4000
    changed = recording.signals.copy()
    changed[:, at:] += 1.0
    one, two = (
        apply(net, dataclasses.replace(recording, signals=signals), run.data, CPU)
        for signals in (recording.signals, changed)
    )
    first = int(np.flatnonzero(np.abs(one - two) > 1e-6)[0])
    assert first >= at - delay_of(net, run.data, rate_hz).total_s * rate_hz - 2 * rate_hz / 250.0


def test_the_default_delay_is_below_half_a_second(causal: Made) -> None:
    for model in (ConformerConfig(), TcnMaskConfig(stride=2)):
        run = causal(model, live=LiveConfig(causal=True))
        delay = delay_of(model_of(run), run.data)
        assert delay.total_s <= 0.5
        assert f"delay at most {delay.total_s:.3f} s" in delay.described


def test_signals_in_the_band_already_are_estimated_as_the_forward_pass_does(causal: Made) -> None:
    """Evaluation and calibration take whole recordings; the model has no windows there."""
    run = causal()
    net = model_of(run)
    signals = np.random.default_rng(0).standard_normal((1, 3000)).astype(np.float32)
    found, sounds = estimate_recording(net, signals, 250.0, 1024, CPU, 4)
    with torch.no_grad():
        whole = net(torch.from_numpy(signals)[None])[0, 0].numpy()
    assert sounds is None
    np.testing.assert_allclose(found, whole, atol=1e-5)
    assert len(estimate_conditioned(net, signals[:, :7], 250.0, CPU)) == 7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: {"beats": BeatsConfig(beats_weight=1.0)}, "set beats_weight to 0 or causal to false"),
        (lambda run: {"data": dataclasses.replace(run.data, band_phase="zero")}, 'needs band_phase = "minimum"'),
        (
            lambda run: {"live": LiveConfig(causal=True, lookahead_s=2.0)},
            "more than max_delay_s = 0.5; lower lookahead_s",
        ),
        (lambda run: {"model": TcnMaskConfig(output="tanh")}, 'set output to "linear"'),
    ],
)
def test_what_is_not_causal_is_refused_by_its_name(
    change: Callable[[RunConfig], dict[str, object]], said: str, causal: Made
) -> None:
    run = causal()
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(run, **change(run)).build_model(1)  # type: ignore[arg-type]


def test_a_causal_model_has_no_windows(causal: Made, heart: Callable[..., Recording]) -> None:
    run = causal()
    with pytest.raises(ConfigError, match="a causal model has no windows: leave it out"):
        apply(model_of(run), heart(0, Path("h.csv")), run.data, CPU, window_s=10.0)


def test_a_run_without_the_section_is_written_as_before(run: RunConfig) -> None:
    document = to_document(run)
    assert "live" not in document and "band_phase" not in document["data"]
