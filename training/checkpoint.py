"""Write and read checkpoints and weights: atomically, with checksums, and without running code from the files."""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from data.errors import UserError
from data.files import atomic
from training.errors import CheckpointError
from training.files import CHECKPOINT as CHECKPOINT
from training.files import WEIGHTS as WEIGHTS
from training.pretrained import run_folder

MAGIC = b"drivebeat-checkpoint-1 "
# How models.front, models.beats and models.parts.streaming name the denoiser within them.
_AROUND = re.compile(r"^(denoiser\.|net\.|core\.)+")


def save_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write `state` (tensors, numbers, strings, dicts and lists of them), preceded by its SHA-256.

    Raises OSError if it cannot be written; an earlier checkpoint at `path` is then left unchanged.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    payload = buffer.getvalue()
    with atomic(path) as temporary:
        temporary.write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read the state that save_checkpoint wrote, with tensors on `device`.

    Raises CheckpointError if the file is missing, damaged or not a checkpoint of this version. A right checksum does
    not mean that save_checkpoint wrote the content.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: checkpoint cannot be read ({error.strerror})") from error
    header, _, payload = content.partition(b"\n")
    if not header.startswith(MAGIC):
        raise CheckpointError(f"{path}: not a checkpoint of this Drivebeat; remove it to start the run anew")
    if hashlib.sha256(payload).hexdigest().encode() != header[len(MAGIC) :]:
        raise CheckpointError(f"{path}: damaged (its checksum does not match); remove it to start the run anew")
    with damage(path):
        state: object = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}, not a table")
        return state


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Raise CheckpointError, which calls the checkpoint at `path` damaged, for an error in the block.

    Any exception of a library for a content that it did not write counts, but not too little memory.
    """
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise CheckpointError(
            f"{path}: damaged (not the state of a run: {reason.replace(';', ',')}); remove it to start the run anew"
        ) from error


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the module's parameters and buffers as safetensors, or as a plain state_dict if `path` ends in .pth."""
    # Cloned because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
    with atomic(path) as temporary:
        if path.suffix == ".pth":
            torch.save(tensors, temporary)
        else:
            # save_file would create a file that only its owner can read.
            temporary.write_bytes(save(tensors))


def load_weights(module: nn.Module, path: Path, sha256: str = "", *, advice: str = "is it another model's?") -> None:
    """Load safetensors, or a .pth that holds a plain state_dict, into `module`.

    sha256: of the file, in hexadecimal; "" accepts any file.
    advice: the next step, in an error about tensors that do not fit.

    Raises CheckpointError for another SHA-256, and for tensors that do not fit the module; the first is named.
    """
    tensors = _read_weights(path, sha256)
    _check_fit(module.state_dict(), tensors, path, advice)
    _load_tensors(module, tensors, path)


def load_fitting_weights(module: nn.Module, path: Path, sha256: str = "") -> tuple[int, int]:
    """Load the tensors whose name and shape fit `module`, and leave its other tensors unchanged.

    A denoiser fits with and without the parts of a run around it: filters before it, the network for beats beside it.
    Its causal form takes the weights of the other form, and the other way round.

    Return the number of tensors loaded and the number that `module` has.

    Raises CheckpointError as load_weights does, but for tensors that do not fit only if none of them fits.
    """
    wanted, held = module.state_dict(), _read_weights(path, sha256)
    bare = {_AROUND.sub("", name): tensor for name, tensor in held.items()}
    found = {name: held.get(name, bare.get(_AROUND.sub("", name))) for name in wanted}
    fitting = {
        name: tensor
        for name, tensor in found.items()
        if isinstance(tensor, Tensor) and tensor.shape == wanted[name].shape
    }
    if not fitting:
        raise CheckpointError(f"{path}: none of its tensors fits the config; is it another model's?")
    _load_tensors(module, fitting, path)
    return len(fitting), len(wanted)


def _load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors of right names and shapes. Raises CheckpointError for those without values (sparse, meta ...)."""
    try:
        module.load_state_dict(tensors, strict=False)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path}: weights cannot be used ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def weights_file(path: Path) -> Path:
    """Return `path`, or the weights file in it if it is the folder of a run or names a pretrained model."""
    path = run_folder(path)
    return path / WEIGHTS if path.is_dir() else path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a weights file in hexadecimal. Raises CheckpointError if it cannot be read."""
    return hashlib.sha256(_bytes_of(path)).hexdigest()


def _bytes_of(path: Path) -> bytes:
    """Read the bytes of a weights file. Raises CheckpointError."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such weights file; has the run finished an epoch?") from error
    except OSError as error:
        raise CheckpointError(f"{path}: weights cannot be read ({error.strerror})") from error


def _read_weights(path: Path, sha256: str) -> Mapping[str, Tensor]:
    """Read the tensors of a weights file by name. Raises CheckpointError for another SHA-256 or content."""
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
        raise CheckpointError(f"{path}: weights cannot be read ({_first_line(error)})") from error
    except Exception as error:  # torch.load raises many kinds of error for a file that it did not write
        raise CheckpointError(f"{path}: not a weights file ({type(error).__name__})") from error
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{path}: holds a {type(tensors).__name__}, not a table of tensors")
    return tensors


def _check_fit(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], path: Path, advice: str) -> None:
    """Raise CheckpointError, naming the first tensor, unless `got` has the names and shapes of `wanted`."""
    for name, tensor in wanted.items():
        if name not in got:
            raise CheckpointError(f"{path}: does not fit the config: {name} is missing; {advice}")
        if not isinstance(got[name], Tensor):
            raise CheckpointError(f"{path}: {name} is a {type(got[name]).__name__}, not a tensor")
        if got[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: does not fit the config: {name} has shape {tuple(got[name].shape)}, "
                f"the config builds {tuple(tensor.shape)}; {advice}"
            )
    extra = [name for name in got if name not in wanted]
    if extra:
        raise CheckpointError(f"{path}: does not fit the config: {extra[0]} has no place in it; {advice}")
