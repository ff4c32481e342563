"""A checkpoint with a right checksum and a content that save_progress did not write is damaged, and said to be so."""

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data.corpus import Corpus
from training.checkpoint import CHECKPOINT, MAGIC, WEIGHTS, load_checkpoint, save_checkpoint
from training.config import RunConfig
from training.errors import CheckpointError
from training.learner import build_learner, check_progress, read_progress, save_progress
from training.report import EpochReport
from training.trainer import train

CPU = torch.device("cpu")
State = dict[str, Any]


@pytest.fixture
def trained(make_run: Callable[..., RunConfig], corpus: Corpus, tmp_path: Path) -> tuple[RunConfig, Path]:
    """A run of two epochs and its folder."""
    run = make_run(epochs=2, steps_per_epoch=2, ema_decay=0.9)
    list(train(run, corpus, tmp_path / "run"))
    return run, tmp_path / "run"


def put(payload: bytes, path: Path) -> None:
    """Write a payload with its right checksum."""
    path.write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class Foreign:
    """A class that weights_only does not load."""


def without(key: str) -> Callable[[State], None]:
    return lambda state: state.pop(key)


def first_weight(state: State) -> str:
    return str(next(name for name, tensor in state["model"].items() if tensor.dim() > 1))


def cut_weight(state: State) -> None:
    state["model"][first_weight(state)] = torch.zeros(1)


def other_name(state: State) -> None:
    state["model"]["elsewhere"] = state["model"].pop(first_weight(state))


def cut_average(state: State) -> None:
    state["averaged"] = {}


def cut_moment(state: State) -> None:
    moments = next(values for values in state["optimiser"]["state"].values() if values["exp_avg"].dim() > 1)
    moments["exp_avg"] = moments["exp_avg"][:1, :1]


def no_moment(state: State) -> None:
    del state["optimiser"]["state"][0]["exp_avg"]


def odd_group(state: State) -> None:
    state["optimiser"]["param_groups"][0]["betas"] = "ab"


def no_groups(state: State) -> None:
    state["optimiser"]["param_groups"] = []


def reports(text: str) -> Callable[[State], None]:
    return lambda state: state.update(reports=text)


def foreign_score(state: State) -> None:
    values = json.loads(state["reports"])
    values[-1]["score"] = "high"
    state["reports"] = json.dumps(values)


def foreign_key(state: State) -> None:
    values = json.loads(state["reports"])
    values[-1]["glory"] = 1.0
    state["reports"] = json.dumps(values)


def skipped_epoch(state: State) -> None:
    state["reports"] = json.dumps(json.loads(state["reports"])[1:])


@pytest.mark.parametrize(
    "change",
    [
        *(without(key) for key in ("run", "data_fingerprint", "reports", "model", "optimiser", "averaged")),
        cut_weight,
        other_name,
        cut_average,
        cut_moment,
        no_moment,
        odd_group,
        no_groups,
        reports("nothing"),
        reports("3"),
        reports('{"a": 1}'),
        reports("[" * 20_000),
        lambda state: state.update(reports=None),
        lambda state: state.update(run="{"),
        lambda state: state.update(run="[" * 20_000),
        lambda state: state.update(model=[]),
        lambda state: state.update(optimiser={"state": 1, "param_groups": 2}),
        foreign_score,
        foreign_key,
        skipped_epoch,
    ],
)
def test_a_state_that_does_not_fit_its_run_is_damaged(
    trained: tuple[RunConfig, Path], corpus: Corpus, change: Callable[[State], None]
) -> None:
    run, folder = trained
    assert check_progress(run, corpus.fingerprint, folder / CHECKPOINT) == 2
    state = load_checkpoint(folder / CHECKPOINT, CPU)
    change(state)
    save_checkpoint(state, folder / CHECKPOINT)
    with pytest.raises(CheckpointError, match="damaged") as got:
        check_progress(run, corpus.fingerprint, folder / CHECKPOINT)
    assert str(folder / CHECKPOINT) in str(got.value)
    assert "\n" not in str(got.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        pickled(Foreign()),
        pickle.dumps({"reports": "[]"}),
        pickled([1, 2]),
        pickled({"a": torch.ones(99)})[:-300],
    ],
    ids=["empty", "text", "class", "pickle", "list", "cut"],
)
def test_a_payload_that_is_refused_is_damaged(payload: bytes, tmp_path: Path) -> None:
    put(payload, tmp_path / "c.pt")
    for reader in (lambda: load_checkpoint(tmp_path / "c.pt", CPU), lambda: read_progress(tmp_path / "c.pt")):
        with pytest.raises(CheckpointError, match="damaged") as got:
            reader()
        assert "\n" not in str(got.value)


def test_damage_ends_a_training_in_one_line(trained: tuple[RunConfig, Path], corpus: Corpus) -> None:
    """As `drivebeat train` shows it: the user decides what becomes of the folder."""
    run, folder = trained
    state = load_checkpoint(folder / CHECKPOINT, CPU)
    cut_weight(state)
    save_checkpoint(state, folder / CHECKPOINT)
    with pytest.raises(CheckpointError, match=r"damaged .*size mismatch.*; remove it to start the run anew"):
        list(train(run, corpus, folder))


def test_best_weights_that_do_not_fit_make_a_checkpoint_useless(
    trained: tuple[RunConfig, Path], corpus: Corpus
) -> None:
    """A run that goes on and finds no better epoch ends with them."""
    run, folder = trained
    (folder / WEIGHTS).write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: weights cannot be read"):
        check_progress(run, corpus.fingerprint, folder / CHECKPOINT)


def test_a_checkpoint_of_another_run_or_other_recordings_is_refused(
    trained: tuple[RunConfig, Path], make_run: Callable[..., RunConfig], corpus: Corpus
) -> None:
    run, folder = trained
    with pytest.raises(CheckpointError, match="belongs to another run"):
        check_progress(make_run(seed=9), corpus.fingerprint, folder / CHECKPOINT)
    with pytest.raises(CheckpointError, match="belongs to other recordings"):
        check_progress(run, "0000", folder / CHECKPOINT)


def test_the_check_changes_nothing(trained: tuple[RunConfig, Path], corpus: Corpus, tmp_path: Path) -> None:
    run, folder = trained
    shutil.copytree(folder, tmp_path / "copy")
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    check_progress(run, corpus.fingerprint, folder / CHECKPOINT)
    assert torch.equal(before, torch.random.get_rng_state())
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "copy").iterdir()
    }


def test_a_checkpoint_in_fp16_is_checked_without_a_device_that_trains_in_it(
    make_run: Callable[..., RunConfig], corpus: Corpus, make_report: Callable[[int], EpochReport], tmp_path: Path
) -> None:
    """The state of the loss scaler is part of it."""
    run = make_run(precision="fp16")
    learner = build_learner(run, run.build_model(1), CPU, starts_anew=True)
    save_progress(run, corpus.fingerprint, [make_report(0)], learner, tmp_path / CHECKPOINT)
    assert check_progress(run, corpus.fingerprint, tmp_path / CHECKPOINT) == 1
    state = load_checkpoint(tmp_path / CHECKPOINT, CPU)
    del state["scaler"]
    save_checkpoint(state, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="damaged"):
        check_progress(run, corpus.fingerprint, tmp_path / CHECKPOINT)
