"""What every store of checkpoints and artifacts does, be it a folder or a bucket."""

import contextlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from search.artifacts.base import Checkpoints, TrialStore
from search.artifacts.folder import checkpoint_folder, epochs_in
from search.artifacts.open import open_artifacts
from search.study.study import Study
from search.worker.result import TrialResult
from search.worker.trial import run_trial
from tests.support.worker import BrokenOff, CheckedStop, QuietHeartbeat, worker_context
from training.checkpoint import save_checkpoint
from training.trainer import CHECKPOINT, WEIGHTS


class Kind:
    """One kind of store: how another machine opens it, and how what it holds comes to harm."""

    def __init__(self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.tmp_path, self.monkeypatch = place, tmp_path, monkeypatch

    @property
    def is_bucket(self) -> bool:
        return self.place.startswith("s3:")

    def open(self, machine: str = "one") -> TrialStore:
        """The store as a worker of `machine` opens it: a bucket's has a folder of its own there."""
        self.monkeypatch.setenv("DRIVEBEAT_SCRATCH", str(self.tmp_path / f"scratch-{machine}"))
        return open_artifacts(self.place)

    def objects(self) -> dict[str, int]:
        """Checkpoints that others could take on, by name, and how many bytes each has."""
        if self.is_bucket:
            rows = bucket_of(self.open()).objects.filter(Prefix="lab/search/checkpoints/")
            return {row.key: row.size for row in rows}
        return {str(path): path.stat().st_size for path in Path(self.place).rglob("checkpoint*.pt")}

    def damage_newest(self, study: str, number: int) -> None:
        if self.is_bucket:
            row = sorted(bucket_of(self.open()).objects.all(), key=lambda row: row.key)[-1]
            content = row.get()["Body"].read()
            row.put(Body=content[: len(content) // 2])
            return
        path = checkpoint_folder(Path(self.place), study, number) / CHECKPOINT
        content = path.read_bytes()
        path.unlink()  # a file of its own: the links to the old one stand for another's copy
        path.write_bytes(content[: len(content) // 2])


def bucket_of(store: Any) -> Any:
    import boto3

    return boto3.resource("s3").Bucket(store.bucket.bucket)


@pytest.fixture(params=["folder", "s3"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kind:
    place = request.getfixturevalue("s3_url") if request.param == "s3" else str(tmp_path / "artifacts")
    return Kind(place, tmp_path, monkeypatch)


def train_epochs(checkpoints: Checkpoints, n_epochs: int, first: int = 0) -> None:
    """What training leaves: weights of the epoch, then a checkpoint of all epochs."""
    checkpoints.folder.mkdir(parents=True, exist_ok=True)
    for n in range(first + 1, n_epochs + 1):
        (checkpoints.folder / WEIGHTS).write_bytes(b"weights of %d" % n)
        save_checkpoint({"reports": json.dumps([{}] * n)}, checkpoints.folder / CHECKPOINT)
        checkpoints.rotate(n)


@dataclass
class Ran:
    """What a trial came to: its result, its scores by epoch, and how many steps asked whether to go on."""

    result: TrialResult | None = None
    scores: list[float] = field(default_factory=list)
    n_checks: int = 0


def quiet(store: TrialStore, number: int = 0, study: str = "tiny") -> Checkpoints:
    return store.checkpoints(study, number, pytest.fail)


def test_the_newest_checkpoint_comes_back_on_another_machine_with_its_weights(kind: Kind) -> None:
    train_epochs(quiet(kind.open("one")), 4)
    said: list[str] = []
    other = kind.open("two").checkpoints("tiny", 0, said.append)
    assert other.restore() == 4
    assert epochs_in(other.folder / CHECKPOINT) == 4
    assert (other.folder / WEIGHTS).read_bytes() == b"weights of 4"
    assert all("continued after 4 epochs" in line for line in said)


def test_a_trial_without_checkpoints_starts_anew(kind: Kind) -> None:
    checkpoints = quiet(kind.open())
    assert checkpoints.restore() == 0
    assert not (checkpoints.folder / CHECKPOINT).exists()


def test_a_damaged_newest_one_is_said_and_the_one_before_taken(kind: Kind) -> None:
    train_epochs(quiet(kind.open("one")), 4)
    kind.damage_newest("tiny", 0)
    said: list[str] = []
    other = kind.open("two").checkpoints("tiny", 0, said.append)
    assert other.restore() == 3
    assert epochs_in(other.folder / CHECKPOINT) == 3
    assert "damaged" in said[0]
    assert "continuing without it" in said[0]
    train_epochs(other, 4, first=3)  # the damaged one is replaced
    assert kind.open("three").checkpoints("tiny", 0, said.append).restore() == 4


def test_two_checkpoints_are_kept_of_however_many_epochs(kind: Kind) -> None:
    train_epochs(quiet(kind.open()), 7)
    names = {Path(name).name for name in kind.objects()}
    # a folder's newest has two names for one file
    wanted = {"000006.pt", "000007.pt"} if kind.is_bucket else {CHECKPOINT, "checkpoint.latest.pt"}
    assert names - {"checkpoint.previous.pt"} == wanted


def test_a_finished_trial_leaves_nothing_and_its_neighbours_stay(kind: Kind) -> None:
    store = kind.open()
    for number in (1, 10):
        train_epochs(quiet(store, number), 2)
    quiet(store, 1).delete()
    assert quiet(store, 1).restore() == 0
    assert not quiet(store, 1).folder.exists()
    assert kind.objects()
    assert all("/10/" in name for name in kind.objects())
    assert quiet(kind.open(), 10).restore() == 2
    quiet(store, 1).delete()  # twice is well


def test_workers_side_by_side_do_not_meet(kind: Kind) -> None:
    store = kind.open()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: train_epochs(quiet(store, number), 3), range(8)))
    assert [quiet(store, number).restore() for number in range(8)] == [3] * 8


def test_artifacts_come_back_as_they_went(kind: Kind) -> None:
    content = np.arange(100_000, dtype=np.uint8).tobytes()
    kind.open("one").artifacts.write("0f-1", io.BytesIO(content))
    store = kind.open("two").artifacts
    with store.open_reader("0f-1") as reader:
        assert reader.read() == content
    store.remove("0f-1")
    with pytest.raises(ArtifactNotFound):
        store.open_reader("0f-1")


def test_another_worker_goes_on_from_the_store_to_the_same_bits(
    kind: Kind, bench: Any, make_spec: Any, corpus: Any
) -> None:
    """Broken off after two of four epochs, on another machine it trains two more and ends as if undisturbed."""
    studies = [bench.create(make_spec(name=name, budget={"trials": 1}, epochs=4)) for name in ("tiny", "again")]

    def run(study: Study, machine: str, until: int = 99) -> Ran:
        ran = Ran()

        def at(epoch: int, score: float) -> None:
            ran.scores.append(score)
            if epoch + 1 == until:
                raise BrokenOff

        def check() -> None:
            ran.n_checks += 1

        changes = {"heartbeat": QuietHeartbeat(at), "stop": CheckedStop(check)}
        context = worker_context(study, bench.engine, corpus, kind.open(machine), **changes)
        with contextlib.suppress(BrokenOff):
            ran.result = run_trial(context)
        return ran

    broken, resumed = run(studies[0], "one", until=2), run(studies[0], "two")
    undisturbed = run(studies[1], "one")
    params, others = (study.optuna.get_trials()[0].params for study in studies)
    assert params == others
    assert broken.result is None
    assert resumed.result == undisturbed.result is not None
    assert resumed.scores == undisturbed.scores
    assert broken.scores == undisturbed.scores[:2]
    assert resumed.n_checks < undisturbed.n_checks
    assert [len(study.optuna.get_trials()) for study in studies] == [1, 1]
