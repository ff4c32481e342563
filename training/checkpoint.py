"""Checkpoints and weights on disk: atomic, checksummed, loadable without running foreign code."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from data.files import atomic
from training.errors import CheckpointError

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
MAGIC = b"drivebeat-checkpoint-1 "


def save_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write `state` (tensors, numbers, texts, dicts and lists of them) with its SHA-256 before it.

    Raises OSError where it cannot be written; a checkpoint that was there stays.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    payload = buffer.getvalue()
    with atomic(path) as temporary:
        temporary.write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """What save_checkpoint wrote. Raises CheckpointError where the file is missing, foreign or damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: checkpoint cannot be read ({error.strerror})") from error
    header, _, payload = content.partition(b"\n")
    if not header.startswith(MAGIC):
        raise CheckpointError(f"{path}: not a checkpoint of this Drivebeat; remove it to start the run anew")
    if hashlib.sha256(payload).hexdigest().encode() != header[len(MAGIC) :]:
        raise CheckpointError(f"{path}: damaged (its checksum does not match); remove it to start the run anew")
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    return state


def save_weights(module: nn.Module, path: Path) -> None:
    """The module's parameters and buffers as safetensors, or as a plain state_dict where `path` ends in .pth."""
    # Cloned, as safetensors refuses tensors that share memory, which tied weights do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
    with atomic(path) as temporary:
        if path.suffix == ".pth":
            torch.save(tensors, temporary)
        else:
            # Not save_file, which hides the file from everybody else on the machine.
            temporary.write_bytes(save(tensors))


def load_weights(module: nn.Module, path: Path, sha256: str = "") -> None:
    """Load safetensors, or a .pth that holds a plain state_dict, into `module`.

    Raises CheckpointError naming the first tensor that does not fit the config the module was built from, or where
    the file's SHA-256 is not `sha256`, if that is given.
    """
    tensors = _read_weights(path, sha256)
    _check_fit(module.state_dict(), tensors, path)
    module.load_state_dict(tensors)


def load_fitting_weights(module: nn.Module, path: Path, sha256: str = "") -> tuple[int, int]:
    """Load the tensors that fit by name and shape, leave the others: how many were loaded, how many `module` has.

    Raises CheckpointError as load_weights does, but for tensors that do not fit only where none does.
    """
    wanted = module.state_dict()
    fitting = {
        name: tensor
        for name, tensor in _read_weights(path, sha256).items()
        if isinstance(tensor, Tensor) and name in wanted and tensor.shape == wanted[name].shape
    }
    if not fitting:
        raise CheckpointError(f"{path}: none of its tensors fits the config; is it another model's?")
    module.load_state_dict(fitting, strict=False)
    return len(fitting), len(wanted)


def weights_file(path: Path) -> Path:
    """`path`, or the weights in it where it is a run's folder."""
    return path / WEIGHTS if path.is_dir() else path


def file_sha256(path: Path) -> str:
    """The SHA-256 of a weights file, in hexadecimal. Raises CheckpointError where it cannot be read."""
    return hashlib.sha256(_bytes_of(path)).hexdigest()


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such weights file; has the run finished an epoch?") from error
    except OSError as error:
        raise CheckpointError(f"{path}: weights cannot be read ({error.strerror})") from error


def _read_weights(path: Path, sha256: str) -> Mapping[str, Tensor]:
    content = _bytes_of(path)
    got = hashlib.sha256(content).hexdigest()
    if sha256 and got != sha256:
        raise CheckpointError(
            f"{path}: is not the file that the run was made with (SHA-256 {got[:16]}..., wanted {sha256[:16]}...); "
            "put that one back, or start the run anew from this one"
        )
    try:
        if path.suffix in (".pth", ".pt"):
            tensors: object = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        else:
            tensors = load(content)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: weights cannot be read ({str(error).splitlines()[0]})") from error
    except Exception as error:  # torch.load raises pickle's own zoo for a file that is not its own
        raise CheckpointError(f"{path}: not a weights file ({type(error).__name__})") from error
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{path}: holds a {type(tensors).__name__}, not a table of tensors")
    return tensors


def _check_fit(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in wanted.items():
        if name not in got:
            raise CheckpointError(f"{path}: does not fit the config: {name} is missing; is it another model's?")
        if not isinstance(got[name], Tensor):
            raise CheckpointError(f"{path}: {name} is a {type(got[name]).__name__}, not a tensor")
        if got[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: does not fit the config: {name} has shape {tuple(got[name].shape)}, "
                f"the config builds {tuple(tensor.shape)}"
            )
    extra = [name for name in got if name not in wanted]
    if extra:
        raise CheckpointError(f"{path}: does not fit the config: {extra[0]} has no place in it")
