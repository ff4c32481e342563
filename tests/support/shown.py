"""A database with a finished and a running trial, their artifacts, and the dashboard of them."""

import base64
import json
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import create_trial
from optuna_dashboard import wsgi
from sqlalchemy import select

from search.dashboard.server import build
from search.dashboard.storage import PageStorage
from search.storage.fast.tables import OF_A_TRIAL, STUDIES, STUDY_SYSTEM, STUDY_USER, TRIALS
from search.storage.open import open_storage
from tests.support.dashboard import Answer, send

TABLES = (STUDIES, STUDY_USER, STUDY_SYSTEM, TRIALS, *OF_A_TRIAL)
HUGE = 10**30
NO_STUDY, NO_TRIAL, NO_ARTIFACT = 77, 77, "0123abcd"
TEXT = "data:text/plain;base64," + base64.b64encode(b"text").decode()


class Shown:
    """A study with a finished and a running trial, each with an artifact, another study, and the dashboard of them."""

    def __init__(self, bench: Any, folder: Path) -> None:
        self.engine, self.folder = bench.engine, folder
        folder.mkdir()
        self.study = optuna.create_study(storage=bench.storage, study_name="shown", direction="maximize")
        self.study.add_trial(create_trial(value=1.0))
        self.running = self.study.ask()
        self.other = optuna.create_study(storage=bench.storage, study_name="other", directions=["minimize", "maximize"])
        self.of_other = self.other.ask()
        self.store = FileSystemArtifactStore(str(folder))
        source = folder.parent / "text.txt"
        source.write_text("text")
        self.of_study, self.of_running = (
            upload_artifact(artifact_store=self.store, file_path=str(source), study_or_trial=target)
            for target in (self.study, self.running)
        )
        storage = PageStorage(open_storage(bench.url, fast=False), bench.engine)
        self.application = build(storage, self.store)
        self.stock = wsgi(bench.storage, artifact_store=self.store)

    @property
    def stored(self) -> dict[str, Any]:
        """All rows of the database, and the files of the artifact store."""
        with self.engine.connect() as connection:
            rows = {table.name: sorted(map(repr, connection.execute(select(table)))) for table in TABLES}
        return {**rows, "files": sorted(path.name for path in self.folder.iterdir())}

    def send(self, method: str, path: str, document: Any = None, **named: Any) -> Answer:
        body = b"" if document is None else json.dumps(document).encode()
        answer = send(self.application, method, path, body=body, **named)
        assert not answer.log, answer.log
        return answer


def reason_of(answer: Answer) -> str:
    reason: str = json.loads(answer.body)["reason"]
    assert "\n" not in reason
    return reason
