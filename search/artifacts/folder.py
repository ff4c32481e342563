"""Where artifacts and checkpoints lie: a folder that the workers share, or a bucket (search.artifacts.s3)."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from optuna.artifacts import FileSystemArtifactStore

from search.artifacts.base import Checkpoints, Log, TrialStore, checkpoint_folder, restore, rotate
from search.errors import ArtifactError
from search.storage.optuna_private import ArtifactStore


def open_artifacts(place: str | os.PathLike[str]) -> TrialStore:
    """The store at `place`: a folder, made where it is missing, or s3://BUCKET/PREFIX.

    Raises ArtifactError for any other URL, a folder that cannot be made, and a bucket that cannot be reached.
    """
    text = os.fspath(place)
    if text.startswith("s3:"):
        from search.artifacts.s3 import open_bucket

        return open_bucket(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ArtifactError(
            f"artifacts {text.partition('://')[0]}://...: not a store; allowed are a folder and s3://BUCKET/PREFIX "
            "(any S3-compatible service, with AWS_ENDPOINT_URL)"
        )
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"artifacts {text}: the folder cannot be made ({error.strerror}); choose another: --artifacts FOLDER"
        ) from error
    return FolderStore(folder, FileSystemArtifactStore(text))


@dataclass(frozen=True, slots=True, eq=False)
class FolderStore:
    """A folder, local or shared."""

    folder: Path
    artifacts: ArtifactStore

    def checkpoints(self, study: str, number: int, log: Log) -> Checkpoints:
        return FolderCheckpoints(checkpoint_folder(self.folder, study, number), log)


@dataclass(frozen=True, slots=True, eq=False)
class FolderCheckpoints:
    """Checkpoints that stay in the folder in which they are made, which other workers see too."""

    folder: Path
    log: Log

    def restore(self) -> int:
        return restore(self.folder, self.log)

    def rotate(self, n_epochs: int) -> None:
        rotate(self.folder)

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
