"""LCBench: its surrogate is asked in the right order and bounded; other files are refused."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.search.__main__ import main
from benchmarks.search.suites.lcbench import Range, accuracies, read_lcbench, read_space
from data.errors import DataError
from tests.support.pools import write

SUITES = Path(__file__).parents[3] / "shared" / "hpo_suites"
real_lcbench = pytest.mark.skipif(not (SUITES / "lcbench").is_dir(), reason="the files of LCBench are not here")


class Network:
    """In the place of the surrogate: accuracy is the epoch plus the learning rate times 1,000, and the code."""

    def run(self, names: None, given: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        x, code = given["x_cont"], given["x_cat"]
        assert x.dtype == np.float32 and code.dtype == np.int32 and code.shape == (len(x), 1) and x.shape[1] == 8
        output = np.zeros((len(x), 6), np.float32)
        output[:, 1] = x[:, 0] + 1000 * x[:, 2] + code[:, 0]
        return [output]


def test_accuracies_are_laid_out_by_configuration_and_epoch_and_clipped() -> None:
    """Of 500 configurations more rows than one call takes."""
    values = np.zeros((500, 7))
    values[:, 1] = np.linspace(0.0, 0.1, 500)
    found = accuracies(Network(), 3, values, 52)
    expected = np.minimum(np.arange(1, 53)[None] + 1000 * values[:, 1:2] + 3, 100)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@given(st.floats(0, 1), st.booleans(), st.booleans())
def test_a_range_has_its_ends_and_goes_there_and_back(share: float, log: bool, whole: bool) -> None:
    one = Range(16.0, 512.0, log, whole)
    assert list(one.at(np.array([0.0, 1.0]))) == pytest.approx([16, 512])
    value = one.at(np.array([share]))
    assert 16 <= value[0] <= 512 and (not whole or value[0] == round(value[0]))
    assert one.share_of(value)[0] == pytest.approx(share, abs=0.05 if whole else 1e-9)


@pytest.fixture
def surrogate(tmp_path: Path) -> Path:
    """A folder of LCBench's form whose network is none."""
    names = {"epoch": (1, 52), "batch_size": (16, 512)}
    columns = (
        "epoch",
        "batch_size",
        "learning_rate",
        "momentum",
        "weight_decay",
        "num_layers",
        "max_units",
        "max_dropout",
    )
    listed: list[dict[str, Any]] = [{"name": "OpenML_task_id", "choices": ["7", "9"]}]
    for name in columns:
        low, high = names.get(name, (0.1, 0.9))
        listed.append({"name": name, "type": "uniform_float", "log": False, "lower": low, "upper": high})
    write(tmp_path / "config_space.json", {"hyperparameters": listed})
    write(tmp_path / "encoding.json", {"OpenML_task_id": {"7": 2, "9": 1}})
    (tmp_path / "model.onnx").write_bytes(b"no network")
    return tmp_path


def test_other_files_than_lcbenchs_are_refused(surrogate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, ranges = read_space(surrogate / "config_space.json")
    assert tasks == ["7", "9"] and ranges["batch_size"] == Range(16.0, 512.0, False, False)
    write(surrogate / "encoding.json", {"OpenML_task_id": {"7": 2}})
    with pytest.raises(DataError, match=r"encoding\.json has no number of task 9"):
        read_lcbench(surrogate)
    write(surrogate / "config_space.json", {"hyperparameters": []})
    with pytest.raises(DataError, match="lacks epoch; LCBench has epoch, batch_size"):
        read_lcbench(surrogate)
    write(surrogate / "config_space.json", [])
    with pytest.raises(DataError, match="no JSON object"):
        read_lcbench(surrogate)


def test_without_onnxruntime_the_extra_is_named(
    surrogate: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit) as left:
        main(["--suite", "lcbench", "--data", str(surrogate)])
    assert left.value.code == 2
    said = "LCBench needs onnxruntime, which is not installed: pip install 'drivebeat[onnx]'\n"
    assert capsys.readouterr().err == said


def test_a_file_that_is_no_network_is_refused(surrogate: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(DataError, match=r"model\.onnx is no network that onnxruntime reads: "):
        read_lcbench(surrogate)


@real_lcbench
def test_the_surrogate_of_lcbench_learns_and_is_bounded() -> None:
    """Odd and even tasks are halves; later epochs are better on the whole; accuracies are percent."""
    pytest.importorskip("onnxruntime")
    pools = read_lcbench(SUITES, "judging", n_configurations=20)
    assert [pool.number for pool in pools] == list(range(2, 35, 2))
    for pool in pools:
        assert pool.scores.shape == (20, 52) and pool.places.shape == (20, 7)
        assert pool.scores.min() >= 0 and pool.scores.max() <= 100
        assert pool.scores[:, -1].mean() > pool.scores[:, 0].mean()
        assert ((pool.places >= 0) & (pool.places <= 1)).all()
