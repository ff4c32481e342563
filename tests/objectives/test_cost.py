"""Costs: exact counts on modules small enough to count by hand, and nothing left changed behind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from objectives.cost import latency_ms, macs_per_second, n_parameters


class OverTime(nn.Module):
    """Runs a [batch, time, feature] module on [batch, channel, time]."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x.transpose(1, 2))
        first: Tensor = y[0] if isinstance(y, tuple) else y
        return first.transpose(1, 2)


def test_parameters_count_once_and_only_where_trainable() -> None:
    shared = nn.Linear(3, 3)
    module = nn.Sequential(shared, nn.BatchNorm1d(3), shared, nn.Linear(3, 5))
    assert n_parameters(module) == 12 + 6 + 20
    shared.requires_grad_(False)
    assert n_parameters(module) == 6 + 20


@settings(max_examples=30)
@given(
    channels=st.integers(1, 4),
    width=st.integers(1, 8),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    time=st.integers(7, 100),
)
def test_a_convolution_costs_in_times_out_times_kernel_per_output_sample(
    channels: int, width: int, kernel: int, stride: int, time: int
) -> None:
    conv = nn.Conv1d(channels, width, kernel, stride)
    n_outputs = (time - kernel) // stride + 1
    per_window = channels * width * kernel * n_outputs
    assert macs_per_second(conv, channels, time, 1000.0) == pytest.approx(per_window * 1000 / time)


def test_rate_scales_the_cost_and_window_length_does_not() -> None:
    conv = nn.Conv1d(1, 4, 5, padding=2)
    assert macs_per_second(conv, 1, 100, 1000.0) == macs_per_second(conv, 1, 700, 1000.0) == 20_000
    assert macs_per_second(conv, 1, 100, 250.0) == 5_000


def test_transposed_convolution_costs_per_input_sample() -> None:
    assert macs_per_second(nn.ConvTranspose1d(3, 5, 4, stride=2), 3, 10, 10.0) == 10 * 3 * 5 * 4


@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_layer_is_seen_through_its_fast_path(training: bool) -> None:
    """4 d^2 for the projections, 2 L d for attention, 2 d f for the feed-forward part, per step."""
    d, f, steps = 16, 32, 64
    layer = nn.TransformerEncoderLayer(d, 4, f, batch_first=True)
    module = OverTime(nn.TransformerEncoder(layer, 2)).train(training)
    expected = 2 * steps * (4 * d * d + 2 * steps * d + 2 * d * f)
    assert macs_per_second(module, d, steps, float(steps)) == expected


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_are_seen(layer: type[nn.Module], gates: int) -> None:
    assert macs_per_second(OverTime(layer(2, 8, batch_first=True)), 2, 50, 50.0) == 50 * gates * (8 * 8 + 2 * 8)


def test_identity_is_free() -> None:
    assert macs_per_second(nn.Identity(), 1, 64, 1000.0) == 0
    assert n_parameters(nn.Identity()) == 0


def test_measuring_leaves_module_and_switches_as_they_were() -> None:
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Dropout(0.5))
    module[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    switches = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    macs_per_second(module, 1, 64, 1000.0)
    assert latency_ms(module, 1, 64, repeats=2) > 0
    assert [part.training for part in module.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled) == switches
    assert torch.is_grad_enabled()


def test_switches_come_back_after_a_module_that_fails() -> None:
    module = nn.Conv1d(2, 2, 3)
    with pytest.raises(RuntimeError):
        macs_per_second(module, 1, 64, 1000.0)
    assert torch.backends.mha.get_fastpath_enabled()
    assert module.training
    assert torch.is_grad_enabled()


def test_latency_runs_the_warm_up_and_the_repeats_without_gradients() -> None:
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[tuple[int, ...], bool, bool]] = []

        def forward(self, x: Tensor) -> Tensor:
            self.calls.append((tuple(x.shape), torch.is_grad_enabled(), self.training))
            return x

    spy = Spy()
    latency_ms(spy, 6, 128, repeats=4)
    assert spy.calls == [((1, 6, 128), False, False)] * 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: macs_per_second(m, 0, 64, 1000.0), "n_channels is 0; at least 1"),
        (lambda m: macs_per_second(m, 1, 0, 1000.0), "window_samples is 0; at least 1"),
        (lambda m: macs_per_second(m, 1, 64, 0.0), "rate_hz is 0.0; a positive number"),
        (lambda m: latency_ms(m, 1, 64, 0), "repeats is 0; at least 1"),
    ],
)
def test_impossible_requests_are_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call(nn.Conv1d(1, 1, 1))
