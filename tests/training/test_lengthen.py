"""A run of fewer epochs is lengthened in its folder; any other difference is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from training.checkpoint import CHECKPOINT
from training.config import RunConfig, read_run_with_provenance
from training.errors import CheckpointError, ConfigError
from training.lengthen import LENGTHENED
from training.runs import override, train_to_folder
from training.schedule import ScheduleConfig

MakeRun = Callable[..., RunConfig]
Quiet = Callable[[], Console]
Said = Callable[[Console], str]


@pytest.fixture
def run(make_run: MakeRun) -> RunConfig:
    return make_run(epochs=2)


@pytest.fixture
def trained(run: RunConfig, tmp_path: Path, quiet: Quiet) -> Path:
    train_to_folder(run, tmp_path / "r", {"study": "s"}, ["jsonl"], quiet())
    return tmp_path / "r"


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_more_epochs_go_on_after_those_trained(run: RunConfig, trained: Path, quiet: Quiet, said: Said) -> None:
    """The epochs of before stay as they were, and run.yaml says what the folder holds and held."""
    before, console = history(trained), quiet()
    train_to_folder(override(run, epochs=5), trained, {"study": "s"}, ["jsonl"], console)
    assert [line["loss"] for line in history(trained)[:2]] == [line["loss"] for line in before]
    assert [line["epoch"] for line in history(trained)] == [0, 1, 2, 3, 4]
    assert "lengthened from 2 to 5 epochs after epoch 2" in " ".join(said(console).split())
    stored, provenance = read_run_with_provenance(trained / "run.yaml")
    assert stored == override(run, epochs=5)
    assert provenance == {"study": "s", LENGTHENED: [2]}


def test_a_lengthened_run_is_resumed_and_lengthened_again(run: RunConfig, trained: Path, quiet: Quiet) -> None:
    for epochs in (3, 3, 4):
        train_to_folder(override(run, epochs=epochs), trained, {}, ["jsonl"], quiet())
    assert len(history(trained)) == 4
    assert read_run_with_provenance(trained / "run.yaml")[1][LENGTHENED] == [2, 3]


def test_a_run_that_ended_by_its_patience_goes_on(
    make_run: MakeRun, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([1.0, 0.5, 2.0, 1.5])
    monkeypatch.setattr("training.trainer.score_by_snr", lambda *_: {"+0": next(given)})
    run = make_run(epochs=6, patience=1, schedule=ScheduleConfig(gain_ramp="none"))
    train_to_folder(run, tmp_path / "r", {}, ["jsonl"], quiet())
    assert len(history(tmp_path / "r")) == 2
    assert train_to_folder(override(run, epochs=8), tmp_path / "r", {}, ["jsonl"], quiet()) == 2.0
    assert len(history(tmp_path / "r")) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "fit.seed is 0 there, 1 here"),
        ({"epochs": 1}, "fit.epochs is 2 there, 1 here; go on with --epochs 2, or"),
        ({"epochs": 9, "batch_size": 2}, "fit.epochs is 2 there, 9 here; fit.batch_size is 4 there, 2 here"),
    ],
)
def test_any_other_difference_is_named_and_nothing_is_changed(
    change: dict[str, int], words: str, run: RunConfig, trained: Path, quiet: Quiet
) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    with pytest.raises(ConfigError, match=f"holds another run: {words};? choose another folder with -o"):
        train_to_folder(override(run, **change), trained, {}, ["jsonl"], quiet())
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_without_its_checkpoint_a_run_cannot_be_lengthened(run: RunConfig, trained: Path, quiet: Quiet) -> None:
    (trained / CHECKPOINT).unlink()
    with pytest.raises(CheckpointError, match=CHECKPOINT):
        train_to_folder(override(run, epochs=5), trained, {}, ["jsonl"], quiet())
    assert read_run_with_provenance(trained / "run.yaml")[0] == run


def test_a_run_of_which_no_epoch_has_ended_starts_anew_with_more(
    run: RunConfig, trained: Path, quiet: Quiet, said: Said
) -> None:
    """It was interrupted in its first epoch: run.yaml stands alone."""
    for path in trained.iterdir():
        if path.name != "run.yaml":
            path.unlink()
    console = quiet()
    train_to_folder(override(run, epochs=3), trained, {}, ["jsonl"], console)
    assert "no epoch of the run of 2 epochs had ended; it starts anew, with 3" in " ".join(said(console).split())
    assert len(history(trained)) == 3
    assert read_run_with_provenance(trained / "run.yaml") == (override(run, epochs=3), {"study": "s"})
