"""A bucket as the store: what a folder never meets, and two real workers that have nothing else in common."""

import builtins
import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import Trial
from optuna_dashboard import get_note

from search.artifacts import s3 as store_s3
from search.artifacts.base import TrialStore
from search.artifacts.open import open_artifacts
from search.artifacts.s3 import BucketStore
from search.errors import ArtifactError
from search.pages.trial_artifacts import remove_artifacts
from search.study.study import Study
from search.trials import RESUMED
from tests.search.test_artifacts_contract import quiet, train_epochs
from tests.support.program import command, environment
from tests.support.waiting import wait_for
from training.trainer import CHECKPOINT


@pytest.fixture
def own_server(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Start an S3 service that may be stopped and started again, with what it holds kept; it stops itself at last."""
    from moto.server import ThreadedMotoServer

    monkeypatch.setattr(store_s3, "N_TRIES", 1)
    port, running = 0, []

    def start() -> Any:
        nonlocal port
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        port = server.get_host_and_port()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        running.append(server)
        return server

    yield start
    running[-1].stop()


def test_a_service_that_goes_away_is_said_once_and_costs_no_epoch(
    own_server: Callable[[], Any], s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_server()
    said: list[str] = []
    mine = open_artifacts(s3_url).checkpoints("tiny", 0, said.append)
    train_epochs(mine, 1)
    server.stop()
    train_epochs(mine, 4, first=1)
    assert len(said) == 1
    assert "checkpoints are kept on this machine only for now" in said[0]
    assert mine.restore() == 4  # this machine goes on alone
    assert "continuing with this machine's, 4 epochs" in said[1]
    own_server()
    train_epochs(mine, 5, first=4)
    assert "answers again" in said[2]
    monkeypatch.setenv("DRIVEBEAT_SCRATCH", str(mine.folder / "elsewhere"))
    assert open_artifacts(s3_url).checkpoints("tiny", 0, said.append).restore() == 5


def test_removing_and_writing_while_the_service_is_away_raise_nothing_that_a_trial_would_die_of(
    own_server: Callable[[], Any], s3_url: str, tmp_path: Path
) -> None:
    """`forget` says it; an artifact's write is an OSError, which costs a trial its pictures only."""
    server = own_server()
    said: list[str] = []
    store = open_artifacts(s3_url)
    mine = store.checkpoints("tiny", 0, said.append)
    train_epochs(mine, 1)
    (tmp_path / "picture").write_bytes(b"picture")
    server.stop()
    mine.delete()
    assert "are not deleted" in said[0]
    with pytest.raises(OSError, match=r"Could not connect|connect"), (tmp_path / "picture").open("rb") as picture:
        store.artifacts.write("0f", picture)
    own_server()


def end_with_picture(study: Study, store: TrialStore, file: Path, value: float) -> str:
    """A complete trial of that score, with `file` among its artifacts; its identifier."""
    trial = study.optuna.ask(dict(study.space.sampled))
    identifier = upload_artifact(artifact_store=store.artifacts, file_path=str(file), study_or_trial=trial)
    study.optuna.tell(trial, value)
    return identifier


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "window.png"
    path.write_bytes(b"picture")
    return path


def test_what_a_study_no_longer_keeps_leaves_the_bucket_and_all_else_stays_there(
    s3_url: str, bench: Any, make_spec: Any, picture: Path
) -> None:
    """Best and last trial keep theirs, to be read as before; checkpoints, another study's artifacts and what others
    have in the bucket are not touched. A second worker finds nothing left to do."""
    store = open_artifacts(s3_url)
    mine, other = (bench.create(make_spec(name=name, artifacts={"best": 1, "last": 1})) for name in ("tiny", "other"))
    train_epochs(quiet(store), 2)
    whole = boto3.resource("s3").Bucket(s3_url.split("/")[2])
    whole.put_object(Key="lab/theirs", Body=b"theirs")
    of_other = end_with_picture(other, store, picture, 9.0)
    besides = {row.key for row in whole.objects.all()}
    held = [end_with_picture(mine, store, picture, value) for value in (5.0, 1.0, 2.0, 0.0)]
    assert remove_artifacts(mine, mine.optuna.get_trials(), bench.engine, store.artifacts, print) == 2
    assert remove_artifacts(mine, mine.optuna.get_trials(), bench.engine, open_artifacts(s3_url).artifacts, print) == 0
    assert {row.key for row in whole.objects.all()} == besides | {f"lab/search/artifacts/{held[i]}" for i in (0, 3)}
    for identifier in (held[0], held[3], of_other):
        assert store.artifacts.open_reader(identifier).read() == b"picture"
    for identifier in held[1:3]:
        with pytest.raises(ArtifactNotFound):
            store.artifacts.open_reader(identifier)
    notes = [get_note(Trial(mine.optuna, trial._trial_id)) for trial in mine.optuna.get_trials()]
    assert ["were removed" in (note or "") for note in notes] == [False, True, True, False]


def test_artifacts_that_a_service_that_is_away_still_holds_are_removed_after_a_later_trial(
    own_server: Callable[[], Any], s3_url: str, bench: Any, make_spec: Any, picture: Path
) -> None:
    server = own_server()
    study = bench.create(make_spec(artifacts={"best": 1, "last": 1}))
    store = open_artifacts(s3_url)
    held = [end_with_picture(study, store, picture, value) for value in (5.0, 1.0, 2.0)]
    server.stop()
    said: list[str] = []
    assert remove_artifacts(study, study.optuna.get_trials(), bench.engine, store.artifacts, said.append) == 0
    assert [line.startswith("artifacts of trial 1 are not removed yet: ") and "\n" not in line for line in said] == [
        True
    ]
    own_server()
    assert remove_artifacts(study, study.optuna.get_trials(), bench.engine, store.artifacts, said.append) == 1
    kept = {row.key.rpartition("/")[2] for row in boto3.resource("s3").Bucket(s3_url.split("/")[2]).objects.all()}
    assert kept == {held[0], held[2]}


def test_of_a_machines_own_and_the_pushed_checkpoint_the_newer_wins(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machine one trained 2 epochs, two went on to 4, one takes the trial back; then it is ahead of the bucket."""
    one = quiet(open_artifacts(s3_url))
    train_epochs(one, 2)
    monkeypatch.setenv("DRIVEBEAT_SCRATCH", str(tmp_path / "two"))
    two = open_artifacts(s3_url).checkpoints("tiny", 0, lambda line: None)
    assert two.restore() == 2
    train_epochs(two, 4, first=2)
    monkeypatch.setenv("DRIVEBEAT_SCRATCH", str(tmp_path / "scratch"))
    back = open_artifacts(s3_url).checkpoints("tiny", 0, lambda line: None)
    assert back.restore() == 4
    two.delete()
    assert quiet(open_artifacts(s3_url)).restore() == 4  # its own copy, and nothing is fetched


def test_where_every_pushed_checkpoint_is_damaged_the_trial_starts_anew(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epochs(quiet(open_artifacts(s3_url)), 3)
    monkeypatch.setenv("DRIVEBEAT_SCRATCH", str(tmp_path / "two"))
    store = open_artifacts(s3_url)
    assert isinstance(store, BucketStore)
    for row in boto3.resource("s3").Bucket(store.bucket.bucket).objects.all():
        row.put(Body=b"")
    said: list[str] = []
    checkpoints = store.checkpoints("tiny", 0, said.append)
    assert checkpoints.restore() == 0
    assert not (checkpoints.folder / CHECKPOINT).exists()
    assert len(said) == 2


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("s3://", "write s3://BUCKET/PREFIX"),
        ("s3:bucket", "write s3://BUCKET/PREFIX"),
        ("s3://KEY:hush@bucket/x", "AWS_SECRET_ACCESS_KEY"),
        ("gs://bucket/x", "allowed are a folder and s3://BUCKET/PREFIX"),
        ("https://me:hush@host/x", "allowed are a folder and s3://BUCKET/PREFIX"),
        ("s3://no-such-bucket-anywhere/x", "does the bucket exist"),
    ],
)
def test_a_place_that_is_no_store_is_refused_in_one_line_without_secrets(place: str, says: str, s3_url: str) -> None:
    with pytest.raises(ArtifactError) as refused:
        open_artifacts(place)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "hush" not in str(refused.value)


def test_without_boto3_the_extra_is_named(drivebeat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.split(".")[0] in ("boto3", "botocore"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    said = drivebeat("dashboard", "--artifacts", "s3://bucket/x", "--port", "0")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "pip install 'drivebeat[s3]'" in said.err


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_killed_workers_trial_goes_on_elsewhere_from_the_bucket(
    s3_url: str, drivebeat: Any, study_file: Any, bench: Any, tmp_path: Path
) -> None:
    """Two workers in folders of their own, as on two machines; the first is killed in mid-trial. The second starts at
    the next epoch, ends as an undisturbed trial does, and the dashboard serves its artifacts from the bucket."""
    point = {"width": 8, "learning_rate": 1e-3}
    for name in ("tiny", "calm"):
        file = study_file(
            name=name, epochs=30, budget={"trials": 1}, enqueue=[point], search=["width", "learning_rate"]
        )
        assert drivebeat("create", str(file), "--storage", bench.url).code == 0

    def start(machine: str, *words: str) -> subprocess.Popen[str]:
        (tmp_path / machine).mkdir(exist_ok=True)
        return subprocess.Popen(
            command(*words, "--artifacts", s3_url, "--storage", bench.url),
            cwd=tmp_path / machine,
            env=environment(DRIVEBEAT_SCRATCH="scratch", PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    bucket = boto3.resource("s3").Bucket(s3_url.split("/")[2])

    def n_pushed() -> int:
        found = [
            re.search(r"/(\d{6})\.pt$", row.key) for row in bucket.objects.filter(Prefix="lab/search/checkpoints/")
        ]
        return max((int(matched[1]) for matched in found if matched), default=0)

    first = start("one", "work", "tiny", "--threads", "1")
    try:
        wait_for(lambda: n_pushed() >= 3 or first.poll() is not None, 60.0, 0.01)
    finally:
        first.kill()
        words, _ = first.communicate()
    assert first.returncode == -9, words
    n_at_kill = n_pushed()
    assert 3 <= n_at_kill < 30

    second = start("two", "work", "tiny", "calm", "--threads", "1")
    words, _ = second.communicate(timeout=100)
    assert second.returncode == 0, words
    assert f"{n_at_kill:06d}.pt: continued after {n_at_kill} epochs" in words
    assert bench.progress().finished == 1
    killed, calm = (trials_of(bench, name)[0] for name in ("tiny", "calm"))
    assert killed.user_attrs[RESUMED] == 1
    assert (killed.value, killed.intermediate_values) == (calm.value, calm.intermediate_values)
    assert killed.user_attrs["si_sdr_db"] == calm.user_attrs["si_sdr_db"]
    assert n_pushed() == 0  # finished trials leave no checkpoint
    assert not (tmp_path / "two" / "artifacts").exists()

    dashboard = start("three", "dashboard", "--port", "0")
    try:
        assert dashboard.stdout is not None
        address = re.search(r"(http://[\d.:]+)/dashboard/", dashboard.stdout.readline())
        assert address is not None
        meta = next(
            json.loads(value)
            for key, value in killed.system_attrs.items()
            if key.startswith("artifacts:") and "run.yaml" in value
        )
        path = f"/artifacts/{study_of(bench, 'tiny')._study_id}/{killed._trial_id}/{meta['artifact_id']}"
        with urllib.request.urlopen(address[1] + path, timeout=20) as answer:
            assert b"learning_rate" in answer.read()
    finally:
        dashboard.kill()
        dashboard.communicate()


def study_of(bench: Any, name: str) -> Any:
    from search.study.study import load_study

    return load_study(name, bench.storage).optuna


def trials_of(bench: Any, name: str) -> list[Any]:
    return list(study_of(bench, name).get_trials())
