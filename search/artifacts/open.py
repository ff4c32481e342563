"""Open the store of artifacts and checkpoints that a command names."""

import os
import re
from pathlib import Path

from search.artifacts.base import TrialStore
from search.artifacts.folder import FolderArtifacts, FolderStore
from search.errors import ArtifactError


def open_artifacts(place: str | os.PathLike[str], *, create: bool = True) -> TrialStore:
    """Open the store at `place`: a folder, made where it is missing if `create` is true, or s3://BUCKET/PREFIX.

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
        if create:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"artifacts {text}: the folder cannot be made ({error.strerror}); choose another: --artifacts FOLDER"
        ) from error
    return FolderStore(folder, FolderArtifacts(text))
