"""A tiny study that really trains: its recordings, its file, and a database to create it in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from sqlalchemy import Engine, func, insert, select

from data.synthetic.recordings import SynthConfig, synthesise
from search.queue.pairs import EDGES, Edge
from search.queue.slots import Progress, progress, slot_trials
from search.storage.open import open_engine, open_storage
from search.storage.tables import SLOTS
from search.study.record import load_record
from search.study.spec import StudySpec
from search.study.study import Study, create

MakeSpec = Callable[..., StudySpec]


def tiny_recordings(folder: Path) -> Path:
    """Write half a minute of heart sounds at rest and of driving into `folder` as .wav; return `folder`."""
    synthesise(SynthConfig(seed=3, minutes=0.5, speeds_kmh=(60,)), folder)
    return folder


def tiny_data(recordings: Path) -> dict[str, Any]:
    """Build the section `data` of a study on tiny_recordings: 2 s windows at 250 Hz, few of them."""
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


def tiny_study(data: dict[str, Any], /, **changes: Any) -> dict[str, Any]:
    """Build a study of small autoencoders as its TOML file would have it; `changes` replace its keys."""
    return {
        "name": "tiny",
        "models": ["autoencoder"],
        "epochs": 3,
        "search": ["width", "learning_rate"],
        "fixed": {"levels": 2, "kernel": 3, "batch_size": 8, "steps_per_epoch": 3, "gain_ramp": "none"},
        "ranges": {"width": {"choices": [8, 16]}},
        "sampler": {"name": "random"},
        "budget": {"trials": 4},
        "data": data,
        **changes,
    }


def toml_of(values: dict[str, Any]) -> str:
    """Write a TOML document; JSON's scalars, lists and quoted keys are TOML, tables are written inline."""

    def plain(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {plain(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(map(plain, value)) + "]"
        return json.dumps(value)

    return "\n".join(f"{key} = {plain(value)}" for key, value in values.items()) + "\n"


class Bench:
    """An open database with what the tests do to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.storage: BaseStorage = open_storage(url)
        self.engine: Engine = open_engine(url)

    def create(self, spec: StudySpec) -> Study:
        return create(spec, self.storage, self.engine)[0]

    def progress(self, name: str = "tiny") -> Progress:
        """Return the progress of the study `name`."""
        return progress(self.engine, load_record(name, self.storage).identity)

    def close(self) -> None:
        self.storage.remove_session()
        self.engine.dispose()


def record_trials(study: Study, engine: Engine) -> None:
    """Give each trial of the study a slot in the state that a worker leaves it in, as if workers had run all."""
    recorded = slot_trials(engine, study.identity)
    ends = {Edge.FINISH: "finished", Edge.FAIL: "failed", Edge.CONTINUE: "claimed", Edge.BEGIN: "open"}
    with engine.begin() as connection:
        first = connection.execute(
            select(func.count()).select_from(SLOTS).where(SLOTS.c.study == study.identity)
        ).scalar_one()
        new = [trial for trial in study.optuna.get_trials(deepcopy=False) if trial.number not in recorded]
        rows = [
            {
                "study": study.identity,
                "slot": first + i,
                "state": ends[EDGES["claimed"][trial.state]],
                "trial": trial.number,
                "worker": "elsewhere",
                "host": "elsewhere",
                "pid": 1,
                "token": 1,
                "deaths": 0,
                "beats": 0,
                "expires_at": 4e9,
            }
            for i, trial in enumerate(new)
        ]
        if rows:
            connection.execute(insert(SLOTS), rows)


def url_of(folder: Path) -> str:
    """Return the URL of studies.db in a folder."""
    return f"sqlite:///{folder}/studies.db"
