"""Export of the run in a folder to a file, with its test vectors."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from data.errors import FileError
from data.files import atomic, file_errors, make_folder
from training.device import arithmetic, memory_errors, resolve_device
from training.errors import ConfigError
from training.onnx.check import check_parity, parity, read_vectors, relative_error, session, vectors, write_vectors
from training.onnx.check import ran as outputs
from training.onnx.export import add_metadata, exported, metadata_of
from training.onnx.packages import needed
from training.onnx.path import WholePath
from training.onnx.quantise import Loss, loss_of, quantised, validation
from training.pretrained import own_recordings
from training.runs import load_model, read_folder

SUFFIX = ".onnx"
MAX_REPEATED = 1e-5  # between two sessions of one file


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    n_bytes: of the model. metadata: those in it. error: of fp32 against PyTorch, relative to the largest sample.
    loss: of 8 bits; None for fp32. vectors: the file of test vectors; None without.
    """

    model: Path
    n_bytes: int
    metadata: dict[str, str]
    error: float | None
    loss: Loss | None
    vectors: Path | None


@memory_errors()
def export_run(folder: Path, output: Path, *, int8: bool = False, check: bool = False, fixed: bool = False) -> Exported:
    """Write the model of the run in `folder` to `output` as ONNX, with band-pass, scaling and front end.

    int8: quantise it, calibrated on the validation windows of the run, whose recordings must be there.
    check: compare it with PyTorch by onnxruntime, and write test vectors beside it (MODEL.check.npz).
    fixed: one window of training at a time, all shapes fixed.

    Raises ConfigError if the packages of the extra `onnx` are missing, `folder` holds no run, or the model cannot be
    exported or fails the check; CheckpointError for weights that do not fit; FileError if `output` cannot be written;
    DataError for recordings that cannot be read. Then nothing is written.
    """
    needed()
    run = read_folder(folder)
    check_output(output)
    with own_recordings(folder):
        mixture = validation(run) if int8 else None
    with arithmetic(run.fit.seed, resolve_device("cpu"), 1):
        path = WholePath(load_model(run, folder), run.data).eval()
        model = exported(path, run, fixed=fixed)
        metadata = metadata_of(path, run, folder, fixed=fixed, precision="int8" if int8 else "fp32")
        error, loss = None, None
        if check:
            error = parity(session(model.SerializeToString()), path, run.data, fixed=fixed)
            check_parity(error)
        if mixture is not None:
            smaller = quantised(model, path, mixture, fixed=fixed)
            loss = loss_of(model, smaller, path, mixture, fixed=fixed)
            model = smaller
        add_metadata(model, metadata)
        content = model.SerializeToString()
        beside = output.with_suffix(".check.npz") if check else None
        if beside is not None:
            write_vectors(vectors(session(content), path, run.data), beside)
        with atomic(output) as temporary:
            temporary.write_bytes(content)
        if beside is not None:
            check_vectors(output, beside)
    return Exported(output, len(content), metadata, error, loss, beside)


def check_output(output: Path) -> None:
    """Check that a model can be written to `output`, before minutes of work.

    Raises ConfigError for another suffix, FileError for a folder that cannot be made or written.
    """
    if output.suffix != SUFFIX:
        raise ConfigError(f"{output}: a model is written as {SUFFIX}, not {output.suffix or 'without ending'!r}")
    if output.is_dir():
        raise ConfigError(f"{output}: is a folder; name a file")
    make_folder(output.parent)
    try:
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise FileError.of(output, error) from error


def check_vectors(model: Path, beside: Path) -> float:
    """Run a written model on its written test vectors, and return the largest relative error of an output.

    Raises ConfigError if it is above MAX_REPEATED, FileError if a file cannot be read.
    """
    with file_errors(model, "read"):
        running = session(model.read_bytes())
        arrays = read_vectors(beside)
    got = outputs(running, {value.name: arrays[value.name] for value in running.get_inputs()})
    error = max(relative_error(values, arrays[name]) for name, values in got.items())
    if not error <= MAX_REPEATED:
        raise ConfigError(f"{model}: differs by {error:.1e} from its test vectors in {beside}; export it again")
    return error


def described(done: Exported) -> list[str]:
    """Return what was written, in lines."""
    m, size = done.metadata, f"{done.n_bytes / 1e6:.2f} MB"
    lines = [
        f"{done.model}: {m['model']}, {m['precision']}, {size}, opset {m['opset']}; {m['n_channels']} channels at "
        f"{m['rate_hz']} Hz; batch {m['batch']}, length {m['length']}",
        f"causal: a sample of the estimate needs the {float(m['delay_s']):.3f} s after it"
        if json.loads(m["causal"])
        else f"the estimate needs the whole window: a delay of {float(m['delay_s']):g} s for windows of "
        f"{m['window_samples']} samples",
    ]
    if done.loss is not None:
        loss = done.loss
        lines.append(
            f"int8: SI-SDR falls by {loss.loss_db:.2f} dB, from {loss.fp32_db:.2f} to {loss.int8_db:.2f} dB on "
            f"{loss.n_windows} validation windows"
        )
    if done.error is not None:
        lines.append(f"fp32 differs from PyTorch by at most {done.error:.1e} of the largest sample (onnxruntime)")
    if done.vectors is not None:
        lines.append(f"{done.vectors}: test vectors, checked")
    return lines


def document_of(done: Exported) -> dict[str, object]:
    """Return what was written as plain values for JSON."""
    loss = done.loss
    return {
        "model": os.fspath(done.model),
        "bytes": done.n_bytes,
        "metadata": done.metadata,
        "relative_error": done.error,
        "int8": None if loss is None else {"fp32_db": loss.fp32_db, "int8_db": loss.int8_db, "loss_db": loss.loss_db},
        "vectors": None if done.vectors is None else os.fspath(done.vectors),
    }
