"""A tiny study that really trains, in a fresh database: SQLite, or a private PostgreSQL server."""

import json
import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from optuna.storages import BaseStorage
from sqlalchemy import Engine

from benchmarks.postgres import Postgres, private_postgres
from data.corpus import Corpus, load
from data.synthetic.recordings import SynthConfig, synthesise
from search.cli.app import main
from search.queue.slots import Claim, claim
from search.storage.open import open_engine, open_storage
from search.storage.tables import Process, create_tables, set_budget
from search.study.spec import StudySpec, check
from search.study.study import Study, create
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
    folder = tmp_path_factory.mktemp("recordings")
    synthesise(SynthConfig(seed=3, minutes=0.5, speeds_kmh=(60,)), folder)
    return folder


@pytest.fixture(scope="session")
def data_section(recordings: Path) -> dict[str, Any]:
    """The section `data` of a study on them: 2 s windows at 250 Hz, few of them."""
    (clean,) = recordings.rglob("stop.wav")
    (noise,) = recordings.rglob("60km.wav")
    held_out = {"n_windows": 4, "snrs_db": [-5.0, 0.0]}
    return {
        "clean": [{"files": [str(clean)]}],
        "noise": [{"files": [str(noise)]}],
        "rate_hz": 250.0,
        "window_samples": 512,
        "stride_samples": 16,
        "validation": held_out,
        "test": {**held_out, "seed": 1},
    }


MakeSpec = Callable[..., StudySpec]


@pytest.fixture(scope="session")
def study_document(data_section: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """A study as its TOML file would have it; keywords replace its keys."""

    def document(**changes: Any) -> dict[str, Any]:
        return {
            "name": "tiny",
            "models": ["autoencoder"],
            "epochs": 3,
            "search": ["width", "learning_rate"],
            "fixed": {"levels": 2, "kernel": 3, "batch_size": 8, "steps_per_epoch": 3, "gain_ramp": "none"},
            "ranges": {"width": {"choices": [8, 16]}},
            "sampler": {"name": "random"},
            "budget": {"trials": 4},
            "data": data_section,
            **changes,
        }

    return document


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


class Bench:
    """An open database with what the tests do to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.storage: BaseStorage = open_storage(url)
        self.engine: Engine = open_engine(url)

    def create(self, spec: StudySpec) -> Study:
        return create(spec, self.storage, self.engine)[0]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A fresh SQLite database."""
    opened = Bench(f"sqlite:///{tmp_path}/studies.db")
    yield opened
    opened.storage.remove_session()
    opened.engine.dispose()


@pytest.fixture
def bench_of_each(empty_url: str) -> Iterator[Bench]:
    """A fresh database of each kind."""
    opened = Bench(empty_url)
    yield opened
    opened.storage.remove_session()
    opened.engine.dispose()


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

    def run(*arguments: str, timeout_s: float = 55, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "search", *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
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


def toml_of(values: dict[str, Any]) -> str:
    """A TOML document; JSON's scalars, lists and quoted keys are TOML, tables are written inline."""

    def plain(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {plain(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(map(plain, value)) + "]"
        return json.dumps(value)

    return "\n".join(f"{key} = {plain(value)}" for key, value in values.items()) + "\n"


@pytest.fixture
def study_file(tmp_path: Path, study_document: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Write the tiny study as tiny.toml in the fresh folder; keywords replace its keys."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(toml_of(study_document(**changes)))
        return path

    return write
