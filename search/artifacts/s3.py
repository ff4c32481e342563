"""Artifacts and checkpoints in an S3-compatible bucket; workers need no shared folder.

Objects below the prefix: `artifacts/ID`, and `checkpoints/STUDY/TRIAL/EPOCHS.pt` with a checkpoint and the best weights
so far. Uploads are atomic, and the SHA-256 in a file detects damage. boto3 reads credentials from the environment.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from optuna.artifacts import Boto3ArtifactStore

from data.files import path_part
from search.artifacts.base import Check, Checkpoints, Log
from search.artifacts.folder import LATEST, PREVIOUS, checked_id, checkpoint_folder, epochs_in, restore, rotate
from search.errors import ArtifactError
from training.errors import CheckpointError
from training.files import CHECKPOINT, WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

URL = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/(.*))?")
SCRATCH = Path("runs/scratch")
N_KEPT = 2
# With these an unreachable service delays training, or a stop, by about ten seconds an epoch at most.
CONNECT_S, READ_S, N_TRIES = 2, 15, 3


class Unreachable(OSError):
    """A request to the service failed. The message says why."""


def open_bucket(url: str) -> "BucketStore":
    """Open the store at `url`, s3://BUCKET/PREFIX, on the service that AWS_ENDPOINT_URL names; default: AWS.

    Trials train in a folder of this machine, below DRIVEBEAT_SCRATCH (default: runs/scratch). Raises ArtifactError for
    an invalid URL, without boto3, and where the bucket cannot be read.
    """
    matched = URL.fullmatch(url)
    if matched is None:
        # the message leaves the URL out, for it may contain a key
        raise ArtifactError(
            "artifacts s3:...: not a bucket; write s3://BUCKET/PREFIX, with keys in AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    bucket, prefix = matched[1], (matched[2] or "").strip("/")
    try:
        client = _client()
    except ImportError as error:
        raise ArtifactError(f"artifacts {url}: boto3 is not installed; pip install 'drivebeat[s3]'") from error
    except ValueError as error:  # the endpoint is not a URL
        raise ArtifactError(f"artifacts {url}: {error}; see AWS_ENDPOINT_URL") from error
    place = Bucket(client, bucket, f"{prefix}/" if prefix else "")
    try:
        place.names("checkpoints/", limit=1)
    except Unreachable as error:
        raise ArtifactError(
            f"artifacts {url}: {error}; does the bucket exist, and are AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY right?"
        ) from error
    scratch = Path(os.environ.get("DRIVEBEAT_SCRATCH") or SCRATCH) / bucket / prefix
    return BucketStore(place, scratch)


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """The objects of a bucket below `prefix`. `name` is an object's key without it. Every method raises Unreachable."""

    client: Any
    bucket: str
    prefix: str

    def url(self, name: str) -> str:
        """Return the object's URL, for messages."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def names(self, start: str, limit: int = 1000) -> list[str]:
        """Return the first `limit` (at most 1000) names that begin with `start`, sorted."""
        with _translated_errors():
            page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix + start, MaxKeys=limit)
        return [row["Key"][len(self.prefix) :] for row in page.get("Contents", [])]

    def put(self, path: Path, name: str) -> None:
        """Upload a file, a large one in several parts."""
        with _translated_errors():
            self.client.upload_file(str(path), self.bucket, self.prefix + name)

    def get(self, name: str, path: Path) -> None:
        """Download an object to `path`."""
        with _translated_errors():
            self.client.download_file(self.bucket, self.prefix + name, str(path))

    def remove(self, name: str) -> None:
        """Delete an object, if it exists."""
        with _translated_errors():
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)


@dataclass(frozen=True, slots=True, eq=False)
class BucketArtifacts:
    """An artifact store for Optuna below a prefix of a bucket; Optuna's Boto3ArtifactStore has no prefix."""

    bucket: Bucket

    def open_reader(self, artifact_id: str) -> BinaryIO:
        with _translated_errors():
            return self._inner().open_reader(self._key(artifact_id))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        with _translated_errors():
            self._inner().write(self._key(artifact_id), content_body)

    def remove(self, artifact_id: str) -> None:
        with _translated_errors():
            self._inner().remove(self._key(artifact_id))

    def _inner(self) -> Boto3ArtifactStore:
        return Boto3ArtifactStore(self.bucket.bucket, self.bucket.client)

    def _key(self, artifact_id: str) -> str:
        return f"{self.bucket.prefix}artifacts/{checked_id(artifact_id)}"


@dataclass(frozen=True, slots=True, eq=False)
class BucketStore:
    """A store in a bucket. scratch: a folder of this machine, in which trials train."""

    bucket: Bucket
    scratch: Path

    @property
    def artifacts(self) -> BucketArtifacts:
        return BucketArtifacts(self.bucket)

    @property
    def place(self) -> str:
        return self.bucket.url("")

    def checkpoints(self, study: str, number: int, log: Log) -> Checkpoints:
        folder = checkpoint_folder(self.scratch, study, number)
        return BucketCheckpoints(folder, self.bucket, f"checkpoints/{path_part(study)}/{number}/", log)


@dataclass(frozen=True, slots=True, eq=False)
class BucketCheckpoints:
    """Checkpoints in a folder of this machine, each uploaded to the bucket.

    start: what the names of the trial's objects begin with. away: set while the service is unreachable.
    """

    folder: Path
    bucket: Bucket
    start: str
    log: Log
    away: Event = field(default_factory=Event)

    def restore(self, check: Check = epochs_in) -> int:
        n_here = restore(self.folder, self.log, check)
        try:
            for n_epochs in reversed(self._uploaded()):
                if n_epochs <= n_here:
                    break
                if found := self._download(n_epochs, check):
                    return found
        except Unreachable as error:
            self.log(f"{self.bucket.url(self.start)}: {error}; continuing with this machine's, {n_here} epochs")
        return n_here

    def rotate(self, n_epochs: int) -> None:
        rotate(self.folder)
        try:
            self._upload(n_epochs)
            for old in self._uploaded()[:-N_KEPT]:
                self.bucket.remove(self._name(old))
        except Unreachable as error:
            if not self.away.is_set():
                self.log(f"{self.bucket.url(self.start)}: {error}; checkpoints are kept on this machine only for now")
            self.away.set()
        else:
            if self.away.is_set():
                self.log(f"{self.bucket.url(self.start)}: answers again")
            self.away.clear()

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            for name in self.bucket.names(self.start):
                self.bucket.remove(name)
        except Unreachable as error:
            self.log(f"{self.bucket.url(self.start)}: {error}; checkpoints of a finished trial are not deleted")

    def _name(self, n_epochs: int) -> str:
        return f"{self.start}{n_epochs:06d}.pt"

    def _uploaded(self) -> list[int]:
        """Return the numbers of epochs of the uploaded checkpoints, ascending."""
        found = (re.fullmatch(r"(\d{6,})\.pt", name[len(self.start) :]) for name in self.bucket.names(self.start))
        return sorted(int(matched[1]) for matched in found if matched)

    def _upload(self, n_epochs: int) -> None:
        """Upload both files as one object, so that a checkpoint never comes with the weights of another epoch."""
        from training.checkpoint import save_checkpoint

        files = {name: _bytes(self.folder / name) for name in (CHECKPOINT, WEIGHTS) if (self.folder / name).exists()}
        with _removed_after(self.folder / "parcel.pt") as parcel:
            save_checkpoint(files, parcel)
            self.bucket.put(parcel, self._name(n_epochs))

    def _download(self, n_epochs: int, check: Check) -> int:
        """Put an uploaded checkpoint into the folder, and return its number of epochs. Logs a damaged one: 0."""
        import torch

        from training.checkpoint import damage, load_checkpoint

        name = self._name(n_epochs)
        self.folder.mkdir(parents=True, exist_ok=True)
        with _removed_after(self.folder / "parcel.pt") as parcel, TemporaryDirectory(dir=self.folder) as unpacked:
            self.bucket.get(name, parcel)
            try:
                files = load_checkpoint(parcel, torch.device("cpu"))
                with damage(parcel):
                    contents = {file: files[file].numpy().tobytes() for file in (WEIGHTS, CHECKPOINT) if file in files}
                for file, content in contents.items():
                    (Path(unpacked) / file).write_bytes(content)
                found = check(Path(unpacked) / CHECKPOINT)
            except CheckpointError as error:
                reason = str(error).replace(f"{unpacked}/", "").removeprefix(f"{parcel}: ").partition(";")[0]
                self.log(f"{self.bucket.url(name)}: {reason}; continuing without it")
                return 0
            for file in contents:  # in this order, so that a checkpoint always has its weights
                (Path(unpacked) / file).replace(self.folder / file)
        for link in (LATEST, PREVIOUS):
            (self.folder / link).unlink(missing_ok=True)
        self.log(f"{self.bucket.url(name)}: continued after {found} epochs")
        return found


def _bytes(path: Path) -> "Tensor":
    import torch

    return torch.from_numpy(np.fromfile(path, dtype=np.uint8))


@contextlib.contextmanager
def _removed_after(path: Path) -> Iterator[Path]:
    """Remove the file at `path` at the end of the block."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise Unreachable for an error of boto3, which has retried the request before."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise Unreachable(f"{error.operation_name} refused ({code})") from error
    except (BotoCoreError, Boto3Error) as error:
        raise Unreachable(" ".join(str(error).split())[:200]) from error


def _client() -> Any:
    import boto3
    from botocore.config import Config

    """Return a client of S3 whose timeouts and retries suit a training."""
    elsewhere = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    return boto3.client(
        "s3",
        config=Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": N_TRIES, "mode": "standard"},
            # other services than AWS rarely have a host name for each bucket
            s3={"addressing_style": "path" if elsewhere else "auto"},
            # some services refuse the checksums that newer versions of boto3 add; ours are in the files
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
