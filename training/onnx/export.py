"""Export of a whole path to an ONNX model, with what its user must know in its metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from data.config import DataConfig
from models.beats import WithBeats
from models.parts.streaming import CausalDenoiser
from training.channels import names_of
from training.checkpoint import WEIGHTS, file_sha256
from training.config import RunConfig
from training.delay import delay_of
from training.errors import ConfigError
from training.lineage import config_sha256
from training.onnx.packages import needed, quiet
from training.onnx.path import WholePath

OPSET = 18
LONGEST = 2**24  # samples of a window
NOISY, NOISE, ESTIMATE, SOUNDS = "noisy", "noise", "estimate", "sounds"
MAX_SHOWN = 300  # characters of an exporter's reason


def exported(path: WholePath, run: RunConfig, *, fixed: bool = False) -> Any:
    """Return the ONNX model (onnx.ModelProto) of `path`, the model of `run`.

    Batch and length are dynamic, unless the model has a `fixed_length`. The inputs and outputs are those of WholePath:
    noisy, noise -> estimate, sounds.

    fixed: one window of training at a time, with all shapes fixed.

    Raises ConfigError if an operation of the model does not exist in ONNX.
    """
    onnx, _ = needed()
    path = path.eval()
    batch = 1 if fixed else 2  # torch takes a 1 for fixed
    inputs = inputs_of(path, torch.zeros(batch, run.data.n_channels, run.data.window_samples))
    dynamic = None if fixed else _dynamic(path)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(path, inputs, dynamic_shapes=dynamic, strict=False)
            written = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                optimize=False,
                opset_version=OPSET,
                input_names=[NOISY, NOISE][: len(inputs)],
                output_names=[ESTIMATE, SOUNDS][: 1 + isinstance(path.model, WithBeats)],
            )
            assert written is not None
            _simplify(written.model)
            model = written.model_proto
    except Exception as error:  # the exporters raise many kinds
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # type: ignore[assignment]
        reason = " ".join(str(cause).split())[:MAX_SHOWN] or type(cause).__name__
        raise ConfigError(
            f"model {run.model.name}: cannot be exported to ONNX ({reason}); "
            + ("use another model" if fixed else "try --fixed, for windows of one length")
        ) from error
    _anonymise(model)
    onnx.checker.check_model(model)
    return model


def _simplify(model: Any) -> None:
    """Fold constants and inline functions, in place.

    onnxscript's whole optimiser would take "+ 1e-8" for an addition of zero and remove it, and silence would be NaN.
    """
    from onnx_ir.passes import common
    from onnxscript import optimizer

    optimizer.inline(model)
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.NameFixPass()(model)


def inputs_of(path: WholePath, noisy: Tensor) -> tuple[Tensor, ...]:
    """Return the inputs of a path for windows `noisy`: with the noise, where it takes some."""
    diffusion = path.diffusion
    if diffusion is None:
        return (noisy,)
    return noisy, diffusion.noise(diffusion.noise_samples(noisy.shape[-1]))


def _dynamic(path: WholePath) -> dict[str, dict[int, Any]]:
    length = {} if path.fixed_length else {2: Dim.DYNAMIC(min=path.min_samples, max=LONGEST)}
    shapes: dict[str, dict[int, Any]] = {NOISY: {0: Dim.DYNAMIC, **length}}
    if path.diffusion is not None:
        shapes[NOISE] = {} if path.fixed_length else {0: Dim.AUTO}
    return shapes


def _anonymise(model: Any) -> None:
    """Remove the traces of the source, which name files of this machine and take much room."""
    for graph in (model.graph, *model.functions):
        for entry in (graph, *graph.node, *getattr(graph, "value_info", ())):
            entry.doc_string = ""
            del entry.metadata_props[:]
    # Shapes in between are those of names before the simplification.
    del model.graph.value_info[:]
    for entry in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del entry.metadata_props[:]


def metadata_of(path: WholePath, run: RunConfig, folder: Path, *, fixed: bool, precision: str) -> dict[str, str]:
    """Return the metadata of an exported model, all as texts; docs/guide/deploying.md describes them.

    folder: of the run. Raises CheckpointError if its weights cannot be read.
    """
    data = run.data
    names = names_of(data)
    sha256 = file_sha256(folder / WEIGHTS)
    reason = path.fixed_length
    values: Mapping[str, Any] = {
        "program": f"drivebeat {version('drivebeat')}",
        "torch": torch.__version__,
        "model": run.model.name,
        "precision": precision,
        "opset": OPSET,
        "rate_hz": data.rate_hz,
        "band_hz": data.band_hz,
        "channels": names[0] if names else None,
        "n_channels": data.n_channels,
        "window_samples": data.window_samples,
        "min_samples": data.window_samples if fixed or reason else path.min_samples,
        "batch": "1" if fixed else "any",
        "length": "fixed" if fixed else f"fixed: {reason}" if reason else "any",
        # Sample i of the estimate is at the time of sample i; but the samples of the delay must have been recorded.
        "causal": run.live.causal,
        "shift_samples": 0,
        "delay_s": delay_s_of(path.model, data),
        "weights_sha256": sha256,
        "config_sha256": config_sha256(run),
        "lineage": [asdict(ancestor) for ancestor in run.init.lineage],
    }
    model = path.model
    if isinstance(model, WithBeats):
        values = {**values, "frame_samples": model.frame, "passes": model.n_passes}
    if path.diffusion is not None:
        values = {**values, "noise_samples": path.diffusion.noise_samples(data.window_samples)}
        values = {**values, "noise_multiple": path.diffusion.multiple}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def delay_s_of(model: nn.Module, data: DataConfig) -> float:
    """Return how long after a sample its estimate can be known, in s: a window, unless the model is causal."""
    if isinstance(model, CausalDenoiser):
        return delay_of(model, data, data.rate_hz).total_s
    return data.window_samples / data.rate_hz


def add_metadata(model: Any, metadata: Mapping[str, str]) -> None:
    """Put the metadata into an ONNX model, in place."""
    onnx, _ = needed()
    model.producer_name, model.producer_version = "drivebeat", version("drivebeat")
    model.doc_string = ""
    onnx.helper.set_model_props(model, dict(metadata))
