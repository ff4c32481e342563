"""What makes a training step quick changes nothing but the last bits, and is undone on leaving."""

from typing import Any

import pytest
import torch
from torch import nn

from training.device import arithmetic
from training.learner import loss_of
from training.schedule import OptimiserConfig

CPU = torch.device("cpu")


def is_filled() -> bool:
    memory: Any = torch.utils.deterministic
    return bool(memory.fill_uninitialized_memory)


@pytest.mark.parametrize("raised", [False, True])
def test_memory_is_not_filled_within_and_as_before_after(raised: bool) -> None:
    assert is_filled()  # torch's own default
    try:
        with arithmetic(0, CPU, 1):
            assert not is_filled()
            assert torch.are_deterministic_algorithms_enabled()
            if raised:
                raise KeyError
    except KeyError:
        pass
    assert is_filled()


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 4, 5), nn.ReLU(), nn.Conv1d(4, 1, 5))


def taught(optimiser: torch.optim.Optimizer, model: nn.Module, n_steps: int) -> None:
    noisy = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(1))
    for _ in range(n_steps):
        optimiser.zero_grad()
        model(noisy).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("algorithm", ["adam", "adamw"])
def test_the_fused_kernel_descends_as_the_plain_one_does(algorithm: Any) -> None:
    fused, plain = net(), net()
    ours = OptimiserConfig(algorithm).build(fused.parameters())
    cls = torch.optim.AdamW if algorithm == "adamw" else torch.optim.Adam
    taught(ours, fused, 20)
    taught(cls(plain.parameters(), lr=1e-3, weight_decay=1e-2, fused=False), plain, 20)
    assert ours.defaults["fused"] is True
    for a, b, begun in zip(fused.parameters(), plain.parameters(), net().parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-6)
        assert not torch.allclose(a, begun, rtol=0, atol=1e-4)


def test_complex_weights_for_which_there_is_no_such_kernel_are_trained_too() -> None:
    weight = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    optimiser = OptimiserConfig().build([weight])
    torch.autograd.backward(weight.abs().square().sum())
    optimiser.step()
    assert not optimiser.defaults["fused"]
    assert (weight.abs() < 1).all()


def test_a_checkpoint_of_plain_kernels_goes_on_with_them_to_the_bit() -> None:
    """A run resumed after an upgrade is the run it was."""
    straight, resumed = net(), net()
    first, second = (torch.optim.AdamW(m.parameters(), lr=1e-3, weight_decay=1e-2) for m in (straight, resumed))
    taught(first, straight, 6)
    taught(second, resumed, 3)
    later = OptimiserConfig().build(resumed.parameters())
    later.load_state_dict(second.state_dict())
    taught(later, resumed, 3)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_model_s_own_loss_comes_before_the_criterion() -> None:
    class Own(nn.Module):
        def training_loss(self, noisy: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
            return (noisy - clean).sum()

    class Pair:
        noisy, clean, labels = torch.full((1, 1, 4), 3.0), torch.full((1, 1, 4), 1.0), None

    batch: Any = Pair()
    assert loss_of(Own(), nn.L1Loss(), batch, "fp32").item() == 8
    assert loss_of(nn.Identity(), nn.L1Loss(), batch, "fp32").item() == 2
