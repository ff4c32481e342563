"""drivebeat export-model: what it writes and prints, and how it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from data.config import DataConfig
from models import DENOISERS
from models.wave_unet import WaveUNetConfig
from objectives.losses import NegSiSdrConfig
from training.checkpoint import file_sha256, save_weights
from training.config import RunConfig, write_run
from training.decode import decode
from training.errors import ConfigError
from training.onnx.run import check_vectors


def written(folder: Path, data_section: dict[str, Any], model: Any) -> None:
    config = RunConfig(data=decode(DataConfig, data_section, "data"), model=model, loss=NegSiSdrConfig())
    write_run(config, folder / "run.yaml")
    save_weights(config.build_model(config.data.n_channels), folder / "weights.safetensors")


@pytest.fixture(autouse=True)
def run(data_section: dict[str, Any], tmp_path: Path) -> Path:
    """A run in the folder `run` whose model changes nothing."""
    written(tmp_path / "run", data_section, DENOISERS["identity"]())
    return tmp_path / "run"


def test_a_checked_model_lies_beside_its_test_vectors_and_says_where_it_is_from(
    run: Path, tmp_path: Path, drivebeat: Any
) -> None:
    said = drivebeat("export-model", "run", "-o", "out/model.onnx", "--check", "--fixed")
    assert (said.code, said.err) == (0, "")
    assert "delay of 2.048 s" in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.check.npz", "model.onnx"]
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert metadata["weights_sha256"] == file_sha256(run / "weights.safetensors")
    assert (metadata["model"], metadata["precision"], metadata["length"]) == ("identity", "fp32", "fixed")
    arrays = np.load(tmp_path / "out" / "model.check.npz")
    assert arrays["noisy"].shape == (1, 1, 512)
    assert arrays["estimate"].shape == (1, 512)


def test_vectors_of_another_model_are_noticed(tmp_path: Path, drivebeat: Any) -> None:
    assert drivebeat("export-model", "run", "-o", "model.onnx", "--check", "--fixed").code == 0
    beside = tmp_path / "model.check.npz"
    assert check_vectors(tmp_path / "model.onnx", beside) == 0
    arrays = dict(np.load(beside))
    arrays["estimate"] = arrays["estimate"] * np.float32(1.001)
    np.savez(beside, **arrays)
    with pytest.raises(ConfigError, match=r"differs by .* from its test vectors"):
        check_vectors(tmp_path / "model.onnx", beside)


def test_int8_prints_its_loss_on_validation_windows(
    data_section: dict[str, Any], tmp_path: Path, drivebeat: Any
) -> None:
    """The model's weights take a quarter of their room, and its estimate stays the same to 20 dB."""
    torch.manual_seed(0)
    written(tmp_path / "unet", data_section, WaveUNetConfig(levels=2, width=24, norm="group"))
    small = drivebeat("export-model", "unet", "-o", "small.onnx", "--int8", "--fixed", "--check", "--json")
    assert small.code == 0, small.err
    document = json.loads(small.out)
    assert document["metadata"]["precision"] == "int8"
    assert document["int8"]["loss_db"] == document["int8"]["fp32_db"] - document["int8"]["int8_db"]
    assert document["relative_error"] < 1e-4
    assert (tmp_path / "small.check.npz").exists()
    assert drivebeat("export-model", "unet", "-o", "large.onnx", "--fixed", "--check").code == 0
    wanted, got = (np.load(tmp_path / f"{name}.check.npz")["estimate"] for name in ("large", "small"))
    assert 0 < np.square(got - wanted).sum() < 0.01 * np.square(wanted).sum()
    tensors = onnx.load(tmp_path / "small.onnx").graph.initializer
    n_int8 = sum(np.prod(tensor.dims) for tensor in tensors if tensor.data_type == onnx.TensorProto.INT8)
    n_float = sum(np.prod(tensor.dims) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)
    assert n_int8 > 5 * n_float


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("nowhere", "-o", "model.onnx"), "nowhere: not a run's folder"),
        (("run", "-o", "model.pt"), "model.pt: a model is written as .onnx, not '.pt'"),
        (("run", "-o", "folder.onnx"), "folder.onnx: is a folder"),
        (("run", "-o", "run/run.yaml/model.onnx"), "run/run.yaml: cannot be made"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_file(
    arguments: tuple[str, ...], needed: str, tmp_path: Path, drivebeat: Any
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    said = drivebeat("export-model", *arguments)
    assert said.code == 2
    assert needed in said.err
    assert said.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_its_packages_the_extra_is_named(
    tmp_path: Path, drivebeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as import finds it where it is not installed
    said = drivebeat("export-model", "run", "-o", "model.onnx")
    assert said.code == 2
    assert "pip install 'drivebeat[onnx]'" in said.err
    assert not (tmp_path / "model.onnx").exists()


def test_recordings_that_are_gone_stop_int8_before_anything_is_written(
    data_section: dict[str, Any], tmp_path: Path, drivebeat: Any
) -> None:
    gone = {**data_section, "clean": [{"files": ["gone/*.wav"]}]}
    written(tmp_path / "old", gone, DENOISERS["identity"]())
    said = drivebeat("export-model", "old", "-o", "model.onnx", "--int8", "--fixed")
    assert said.code == 2
    assert "no recording matches" in said.err
    assert not (tmp_path / "model.onnx").exists()
