"""A tiny study that really trains, in a fresh database: SQLite, or a private PostgreSQL server."""

import logging
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from optuna.storages import BaseStorage
from sqlalchemy import Engine

from data.corpus import Corpus, load
from search.artifacts.open import open_artifacts
from search.cli.app import main
from search.queue.slots import Claim, claim
from search.queue.workers import Process
from search.storage.fast.storage import FastStorage
from search.storage.open import open_engine, open_storage
from search.storage.tables import create_tables, set_budget
from search.study.spec import StudySpec, check
from search.worker.worker import work
from tests.support.plugins import FAST, model_source, write_plugin
from tests.support.postgres import Postgres, private_postgres
from tests.support.program import command, environment
from tests.support.shown import Shown
from tests.support.study import Bench, MakeSpec, tiny_data, tiny_recordings, tiny_study, toml_of, url_of
from training.decode import decode


@pytest.fixture(autouse=True)
def _old_handlers() -> Iterator[None]:
    """work() answers signals of its process; this one is pytest's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with half a minute of heart sounds at rest and of driving, as .wav."""
    return tiny_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def data_section(recordings: Path) -> dict[str, Any]:
    """The section `data` of a study on them: 2 s windows at 250 Hz, few of them."""
    return tiny_data(recordings)


@pytest.fixture(scope="session")
def study_document(data_section: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """A study as its TOML file would have it; keywords replace its keys."""

    return partial(tiny_study, data_section)


@pytest.fixture(scope="session")
def make_spec(study_document: Callable[..., dict[str, Any]]) -> MakeSpec:
    """A checked StudySpec of the tiny study; keywords replace its keys."""
    return lambda **changes: check(decode(StudySpec, study_document(**changes), "tiny.toml"), "tiny.toml")


@pytest.fixture(scope="session")
def corpus(make_spec: MakeSpec) -> Corpus:
    return load(make_spec().data)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A private PostgreSQL server. Where none can be had the tests fail: half of what they promise is about it."""
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_server: Postgres) -> str:
    """The URL of that server's own database."""
    return postgres_server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/studies.db"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """An S3 service in this process, on a free port of this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3_url(s3_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """s3://BUCKET/PREFIX of a new bucket, with the environment that leads to it."""
    host, port = s3_server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DRIVEBEAT_SCRATCH": str(tmp_path / "scratch"),
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"drivebeat-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/lab/search"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A fresh SQLite database."""
    opened = Bench(f"sqlite:///{tmp_path}/studies.db")
    yield opened
    opened.close()


@pytest.fixture
def bench_of_each(empty_url: str) -> Iterator[Bench]:
    """A fresh database of each kind."""
    opened = Bench(empty_url)
    yield opened
    opened.close()


@pytest.fixture
def shown(bench: Any, tmp_path: Path) -> Shown:
    return Shown(bench, tmp_path / "artifacts")


@pytest.fixture
def shown_of_each(bench_of_each: Any, tmp_path: Path) -> Shown:
    """The same on a database of each kind."""
    return Shown(bench_of_each, tmp_path / "artifacts")


@pytest.fixture
def fast(empty_url: str) -> Iterator[FastStorage]:
    """Our storage on an empty database of each kind."""
    opened = open_storage(empty_url)
    assert isinstance(opened, FastStorage)
    yield opened
    opened.remove_session()


@pytest.fixture
def stock(empty_url: str, fast: FastStorage) -> Iterator[BaseStorage]:
    """Optuna's own storage on the same database."""
    opened = open_storage(empty_url, fast=False)
    yield opened
    opened.remove_session()
    opened._backend.engine.dispose()  # type: ignore[attr-defined]


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """A database of each kind with our tables and the budget of a study "tiny", three trials."""
    opened = open_engine(empty_url)
    create_tables(opened)
    set_budget(opened, "tiny", 3, None)
    yield opened
    opened.dispose()


@pytest.fixture
def take(engine: Engine) -> Callable[..., Claim]:
    """Gives a process the next slot of the study in `engine`."""

    def taken(process: Process, lease_s: float = 30.0) -> Claim:
        held = claim(engine, "tiny", process, lease_s)
        assert held is not None
        return held

    return taken


RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> RunCli:
    """Run the console script's entry in a process of its own, in a fresh folder."""

    def run(*arguments: str, timeout_s: float = 55, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env=environment(**{"COLUMNS": "80", **more}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Drivebeat = Callable[..., Said]


@pytest.fixture
def drivebeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Drivebeat:
    """The console script's function in this process, in a fresh folder: as the real one, but without its start-up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("DRIVEBEAT_STORAGE", "DRIVEBEAT_DEBUG", "DRIVEBEAT_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["drivebeat", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Said(int(str(end.value.code)), captured.out, captured.err)

    return run


def files_in(folder: Path) -> set[Path]:
    """All files but the database's own, which opening it makes."""
    return {path for path in folder.rglob("*") if path.is_file() and "studies.db" not in path.name}


@pytest.fixture
def refused(drivebeat: Drivebeat, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must refuse: the line it says, after checking that it is one and nothing was written."""

    def run(*arguments: str) -> str:
        before = files_in(tmp_path)
        said = drivebeat(*arguments)
        assert said.code == 2, said
        assert said.err.startswith("drivebeat: ")
        assert said.err.count("\n") == 1, said.err
        assert "Traceback" not in said.err + said.out
        assert files_in(tmp_path) == before
        return said.err

    return run


@pytest.fixture
def study_file(tmp_path: Path, study_document: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Write the tiny study as tiny.toml in the fresh folder; keywords replace its keys."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(toml_of(study_document(**changes)))
        return path

    return write


@pytest.fixture
def tiny(bench: Bench, make_spec: Any) -> Any:
    """A study of which a worker has run two of three trials."""
    study = bench.create(make_spec(epochs=1, budget={"trials": 2}))
    work(
        ["tiny"], bench.url, open_artifacts(Path(bench.url[10:]).parent / "artifacts"), threads=1, log=lambda line: None
    )
    return bench.create(make_spec(epochs=1, budget={"trials": 3})) and study


@pytest.fixture
def own_study(study_file: Any, tmp_path: Path, plugins: Path) -> Callable[..., Path]:
    """Write tiny.toml, which searches a plug-in's model, and the plug-in beside it; keywords replace its keys."""

    def write(**changes: Any) -> Path:
        write_plugin(tmp_path, "one_layer.py", model_source())
        defaults: dict[str, Any] = {
            "plugins": ["one_layer.py"],
            "models": ["one_layer"],
            "fixed": FAST,
            "epochs": 1,
            "budget": {"trials": 1},
        }
        path: Path = study_file(**{**defaults, **changes})
        return path

    return write


@pytest.fixture
def created(own_study: Any, drivebeat: Any, tmp_path: Path) -> Path:
    """The folder of a created study; the plug-in's file is gone."""
    own_study()
    said = drivebeat("create", "tiny.toml")
    assert said.code == 0, said.err
    (tmp_path / "one_layer.py").unlink()
    return tmp_path


@pytest.fixture
def searched(created: Path) -> Path:
    """The same folder after a worker has run its only trial."""
    work(["tiny"], url_of(created), open_artifacts(created / "artifacts"), threads=1, log=lambda line: None)
    return created
