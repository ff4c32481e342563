"""Quantisation to 8 bits: weights and activations of the layers with weights, calibrated on validation windows.

It is static, in the form of QuantizeLinear and DequantizeLinear around the layers, which onnxruntime fuses and other
runtimes read (Jacob et al. 2018, arXiv:1712.05877). Band-pass, spectra, solvers, attention's products, transposed
convolutions and LSTMs stay in fp32, and so do the first and the last layer, whose errors no other evens out.
"""

import tempfile
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.corpus import load
from data.mixing.mixture import HeldOut, held_out
from objectives.metrics import si_sdr_db
from training.config import RunConfig
from training.onnx.check import inputs_for, ran, session
from training.onnx.export import ESTIMATE
from training.onnx.packages import needed, quiet
from training.onnx.path import WholePath

TYPES = ("Conv", "Gemm", "MatMul")
N_WINDOWS = 32  # for calibration

Key = tuple[tuple[int, ...], bytes]


@dataclass(frozen=True, slots=True)
class Loss:
    """What quantisation costs: the mean SI-SDR in dB on validation windows, before and after."""

    fp32_db: float
    int8_db: float
    n_windows: int

    @property
    def loss_db(self) -> float:
        """Return how much the mean SI-SDR falls."""
        return self.fp32_db - self.int8_db


def validation(run: RunConfig) -> HeldOut:
    """Return the validation mixture of a run. Raises DataError if its recordings cannot be read."""
    corpus = load(run.data)
    return held_out(corpus.splits["validation"], run.data, run.data.validation)


def quantised(model: Any, path: WholePath, mixture: HeldOut, *, fixed: bool) -> Any:
    """Return an exported model (onnx.ModelProto) with 8-bit weights and activations.

    mixture: its windows tell the ranges of the activations.
    """
    onnx, _ = needed()
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    windows = _windows(mixture)
    chosen = windows[np.linspace(0, len(windows) - 1, min(N_WINDOWS, len(windows))).astype(int)]
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, prepared, target = (str(Path(folder) / f"{name}.onnx") for name in ("source", "prepared", "target"))
        onnx.save(model, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            _Reader(path, chosen, 1 if fixed else len(chosen)),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(TYPES),
            nodes_to_exclude=_left_in_fp32(model.graph, path),
            extra_options={"WeightSymmetric": True},
        )
        return onnx.load(target)


class _Reader:
    """Hands the calibration its inputs; the class that onnxruntime asks for has this one method."""

    def __init__(self, path: WholePath, windows: NDArray[np.float32], n_at_once: int) -> None:
        self._inputs: Iterator[Any] = (
            inputs_for(path, windows[first : first + n_at_once]) for first in range(0, len(windows), n_at_once)
        )

    def get_next(self) -> Any:
        """Return the next inputs by name; None after the last."""
        return next(self._inputs, None)


def _left_in_fp32(graph: Any, path: WholePath) -> list[str]:
    """Return the names of the layers to leave: those without learned weights, and the first and the last with them.

    Constants lose their names in an export, so that learned weights are recognised by their values.
    """
    learned = {_key(weight) for parameter in path.parameters() for weight in _turned(parameter)}
    constants = {constant.name: constant for constant in graph.initializer}
    layers = [node for node in graph.node if node.op_type in TYPES]
    has = [_is_learned(node, constants, learned) for node in layers]
    ends = {has.index(True), len(has) - 1 - has[::-1].index(True)} if any(has) else set()
    return [node.name for i, node in enumerate(layers) if not has[i] or i in ends]


def _is_learned(node: Any, constants: Mapping[str, Any], learned: Set[Key]) -> bool:
    onnx, _ = needed()
    constant = constants.get(node.input[1])
    return constant is not None and _key(onnx.numpy_helper.to_array(constant)) in learned


def _turned(parameter: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values = parameter.detach().numpy()
    return values, values.T


def _key(values: NDArray[np.float32]) -> Key:
    return values.shape, np.ascontiguousarray(values).tobytes()


def loss_of(before: Any, after: Any, path: WholePath, mixture: HeldOut, *, fixed: bool) -> Loss:
    """Return what the change from one exported model to another costs on the validation windows.

    The windows of a mixture are band-passed, and the models band-pass them again.
    """
    windows = _windows(mixture)
    clean = torch.from_numpy(np.tile(mixture.clean, (len(mixture.snrs_db), 1)))
    scores = []
    for model in (before, after):
        running, n_at_once = session(model.SerializeToString()), 1 if fixed else 16
        parts = [
            ran(running, inputs_for(path, windows[first : first + n_at_once]))[ESTIMATE]
            for first in range(0, len(windows), n_at_once)
        ]
        scores.append(float(si_sdr_db(torch.from_numpy(np.concatenate(parts)), clean).mean()))
    return Loss(scores[0], scores[1], len(windows))


def _windows(mixture: HeldOut) -> NDArray[np.float32]:
    n_snrs, n_windows, n_channels, n_samples = mixture.noisy.shape
    return np.array(mixture.noisy.reshape(n_snrs * n_windows, n_channels, n_samples))
