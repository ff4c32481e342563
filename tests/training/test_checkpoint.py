"""Checkpoints and weights: whole or refused, never half written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from training.errors import CheckpointError

CPU = torch.device("cpu")


def net(seed: int = 0, width: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(1, width, 3), nn.BatchNorm1d(width))


def equal(a: nn.Module, b: nn.Module) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_weights_come_back_equal(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{ending}"
    save_weights(net(0), path)
    other = net(1)
    load_weights(other, path)
    assert equal(other, net(0))


def test_a_pth_written_by_anybody_loads(tmp_path: Path) -> None:
    """A plain state_dict is what the lab hands round."""
    torch.save(net(0).state_dict(), tmp_path / "w.pth")
    other = net(1)
    load_weights(other, tmp_path / "w.pth")
    assert equal(other, net(0))


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_weights_may_be_read_by_others(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{ending}"
    (tmp_path / "any").write_text("")
    save_weights(net(), path)
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_weights_that_share_memory_are_written(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    save_weights(tied, tmp_path / "w.safetensors")
    load_weights(tied, tmp_path / "w.safetensors")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("w.safetensors", Path.unlink, "no such weights file; has the run finished an epoch"),
        ("w.safetensors", _cut, "weights cannot be read"),
        ("w.pth", _cut, "w.pth: "),
        ("w.pth", lambda path: path.write_bytes(b"hello"), "not a weights file"),
        ("w.pth", lambda path: torch.save([1, 2], path), "holds a list, not a table"),
        ("w.pth", lambda path: torch.save(dict.fromkeys(net().state_dict(), 1), path), "is a int, not a tensor"),
        ("w.pth", lambda path: save_weights(net(width=4), path), r"0.weight has shape \(4, 1, 3\), .* \(3, 1, 3\)"),
        ("w.pth", lambda path: save_weights(nn.Linear(1, 1), path), "0.weight is missing; is it another model's"),
        (
            "w.pth",
            lambda path: save_weights(nn.Sequential(*net(), nn.ReLU(), nn.Linear(1, 1)), path),
            "3.weight has no place",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    name: str, spoil: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    save_weights(net(0), path)
    spoil(path)
    model = net(1)
    with pytest.raises(CheckpointError, match=said) as got:
        load_weights(model, path)
    assert str(path) in str(got.value)
    assert "\n" not in str(got.value)
    assert equal(model, net(1)), "a refused file must change nothing"


def test_a_checkpoint_comes_back_equal(tmp_path: Path) -> None:
    state = {"text": "run", "tensors": {"a": torch.arange(5.0)}, "list": [1, 2.5, None]}
    save_checkpoint(state, tmp_path / "c.pt")
    got = load_checkpoint(tmp_path / "c.pt", CPU)
    assert torch.equal(got["tensors"]["a"], torch.arange(5.0))
    assert (got["text"], got["list"]) == ("run", [1, 2.5, None])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "cannot be read"),
        (_flip, "damaged"),
        (_cut, "damaged"),
        (lambda path: path.write_bytes(b""), "not a checkpoint of this Drivebeat"),
        (lambda path: torch.save({}, path), "not a checkpoint of this Drivebeat"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(spoil: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint({"a": torch.arange(50.0)}, path)
    spoil(path)
    with pytest.raises(CheckpointError, match=said) as got:
        load_checkpoint(path, CPU)
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
def test_a_write_that_fails_leaves_the_old_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        if kind == "checkpoint":
            save_checkpoint({"a": 1}, path)
        else:
            save_weights(net(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
