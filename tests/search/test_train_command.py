"""`drivebeat train --from`: a run that starts from another one's weights, as a user types it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.config import DataConfig
from models.autoencoder import AutoencoderConfig
from objectives.losses import NegSiSdrConfig
from training.config import FitConfig, RunConfig, read_run, write_run
from training.decode import decode
from training.lineage import config_sha256
from training.schedule import ScheduleConfig


@pytest.fixture
def a_and_b(data_section: dict[str, Any], tmp_path: Path) -> tuple[RunConfig, RunConfig]:
    """a.yaml trains on clean signals, b.yaml on noisy ones; both lie in the fresh folder."""
    fit = FitConfig(epochs=1, batch_size=4, steps_per_epoch=2, threads=1)
    data = decode(DataConfig, data_section, "data")
    model = AutoencoderConfig(levels=2, width=4)
    a, b = (
        RunConfig(data=data, model=model, loss=NegSiSdrConfig(), schedule=ScheduleConfig(gain=gain), fit=fit)
        for gain in (0.0, 1.0)
    )
    write_run(a, tmp_path / "a.yaml")
    write_run(b, tmp_path / "b.yaml")
    return a, b


def test_a_chain_of_two_trainings_is_told_by_the_second_one_s_folder(
    a_and_b: tuple[RunConfig, RunConfig], drivebeat: Callable[..., Any], tmp_path: Path
) -> None:
    assert drivebeat("train", "a.yaml", "-o", "runs/a").code == 0
    said = drivebeat("train", "b.yaml", "-o", "runs/b", "--from", "runs/a")
    assert said.code == 0
    assert "starts from runs/a/weights.safetensors: " in said.out
    assert "run 2 of a chain" in said.out
    run = read_run(tmp_path / "runs" / "b" / "run.yaml")
    assert run.init.weights == "runs/a/weights.safetensors"
    assert [ancestor.config_sha256 for ancestor in run.init.lineage] == [config_sha256(a_and_b[0])]
    # the resolved document is whole: it trains by itself, to the same weights
    assert drivebeat("train", "runs/b/run.yaml", "-o", "runs/again").code == 0
    weights = [(tmp_path / "runs" / name / "weights.safetensors").read_bytes() for name in ("b", "again")]
    assert weights[0] == weights[1]


def test_weights_that_changed_or_are_not_there_are_refused_in_one_line(
    a_and_b: tuple[RunConfig, RunConfig], drivebeat: Callable[..., Any], tmp_path: Path
) -> None:
    said = drivebeat("train", "b.yaml", "-o", "runs/b", "--from", "runs/none")
    assert said.code == 2
    assert said.err == "drivebeat: runs/none: no such weights file; has the run finished an epoch?\n"
    drivebeat("train", "a.yaml", "-o", "runs/a")
    drivebeat("train", "b.yaml", "-o", "runs/b", "--from", "runs/a")
    path = tmp_path / "runs" / "a" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    said = drivebeat("train", "runs/b/run.yaml", "-o", "runs/again")
    assert said.code == 2
    assert said.err.startswith("drivebeat: runs/a/weights.safetensors: is not the file that the run was made with")
    assert not (tmp_path / "runs" / "again").exists()


def test_partial_without_from_is_refused(a_and_b: tuple[RunConfig, RunConfig], drivebeat: Callable[..., Any]) -> None:
    said = drivebeat("train", "b.yaml", "-o", "runs/b", "--partial")
    assert (said.code, said.err) == (
        2,
        "drivebeat: --partial needs --from; name the run to take the weights from\n",
    )
