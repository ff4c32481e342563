"""How far a run is: its reports and its learner's state in the checkpoint, and back."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from training.config import RunConfig, from_document, to_document
from training.decode import ConfigError
from training.learner import Learner
from training.report import EpochReport


def save_progress(
    run: RunConfig, fingerprint: str, reports: Sequence[EpochReport], learner: Learner, path: Path
) -> None:
    """Write the checkpoint. `fingerprint`: of the recordings. Raises OSError where it cannot be written."""
    # Learning rate, gain and random draws are functions of (run, epoch): the number of reports is their state.
    state = {
        "run": run_text(run),
        "data_fingerprint": fingerprint,
        "reports": json.dumps([dataclasses.asdict(report) for report in reports]),
        **learner.state(),
    }
    save_checkpoint(state, path)


def load_progress(
    run: RunConfig, fingerprint: str, learner: Learner, path: Path, device: torch.device
) -> list[EpochReport]:
    """The reports of the checkpoint at `path`, its state put into `learner`.

    Raises CheckpointError for one that is damaged, of another run or of other recordings.
    """
    state = load_checkpoint(path, device)
    if not _is_of(run, state["run"]):
        raise CheckpointError(f"{path}: belongs to another run; choose another folder or remove it")
    if state["data_fingerprint"] != fingerprint:
        raise CheckpointError(
            f"{path}: belongs to other recordings (fingerprint {state['data_fingerprint']}, now "
            f"{fingerprint}); put them back, or remove the checkpoint to start anew"
        )
    learner.load(state)
    return _reports(state)


def read_progress(path: Path) -> tuple[str, list[EpochReport]]:
    """The fingerprint of the recordings and the reports in a checkpoint. Raises CheckpointError."""
    state = load_checkpoint(path, torch.device("cpu"))
    return state["data_fingerprint"], _reports(state)


def run_text(run: RunConfig) -> str:
    """`run` as one line of JSON, equal for equal runs."""
    return json.dumps(to_document(run), sort_keys=True)


def _is_of(run: RunConfig, text: str) -> bool:
    """Whether `text` is of this run; one of an earlier version lacks the fields that had only a default then."""
    if text == run_text(run):
        return True
    try:
        return from_document(json.loads(text), "checkpoint") == run
    except ConfigError:
        return False


def _reports(state: dict[str, Any]) -> list[EpochReport]:
    return [EpochReport(**report) for report in json.loads(state["reports"])]
