"""Checkpoints and weights on disk: atomic, checksummed, loadable without running foreign code."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from data.files import atomic
from training.decode import ConfigError

MAGIC = b"drivebeat-checkpoint-1 "


class CheckpointError(ConfigError):
    """A checkpoint or weights file that cannot be used."""


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


def load_weights(module: nn.Module, path: Path) -> None:
    """Load safetensors, or a .pth that holds a plain state_dict, into `module`.

    Raises CheckpointError naming the first tensor that does not fit the config the module was built from.
    """
    try:
        if path.suffix in (".pth", ".pt"):
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        else:
            tensors = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such weights file; has the run finished an epoch?") from error
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: weights cannot be read ({str(error).splitlines()[0]})") from error
    except Exception as error:  # torch.load raises pickle's own zoo for a file that is not its own
        raise CheckpointError(f"{path}: not a weights file ({type(error).__name__})") from error
    _check_fit(module.state_dict(), tensors, path)
    module.load_state_dict(tensors)


def _check_fit(wanted: Mapping[str, Tensor], got: object, path: Path) -> None:
    if not isinstance(got, Mapping):
        raise CheckpointError(f"{path}: holds a {type(got).__name__}, not a table of tensors")
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
