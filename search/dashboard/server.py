"""Serve optuna-dashboard on our storage, with a cache for large studies, authentication and a production server."""

import contextlib
import gc
import logging
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

from optuna.exceptions import StorageInternalError
from optuna_dashboard import wsgi
from sqlalchemy.exc import SQLAlchemyError

from search.artifacts.base import remove_artifact
from search.artifacts.open import open_artifacts
from search.dashboard.attempts import parse_proxies
from search.dashboard.auth import Auth, Passwords, check_open, require_auth
from search.dashboard.cache import StudyPages
from search.dashboard.connections import MAX_UPLOAD_MIB, Server
from search.dashboard.http import checked, compressed, head_as_get
from search.dashboard.missing import missing_artifacts
from search.dashboard.requests import install_checks
from search.dashboard.storage import PageStorage
from search.dashboard.studies import install_study_changes
from search.storage.open import open_engine, open_storage
from search.storage.optuna_private import ArtifactStore
from training.errors import ConfigError


def serve(
    url: str,
    artifacts: str,
    host: str,
    port: int,
    *,
    passwords: Passwords | None = None,
    trusted_proxies: Sequence[str] = (),
    max_upload_mib: int = MAX_UPLOAD_MIB,
    log: Callable[[str, str], None] = print,
    note: Callable[[str], None] = print,
    threads: int = 8,
) -> None:
    """Serve the dashboard until interrupted.

    url: of the storage.
    artifacts: folder or s3:// address of the artifact store.
    host, port: address to listen on; port 0 takes a free one.
    passwords: of the dashboard, None for no password.
    trusted_proxies: addresses or networks of reverse proxies, besides this machine's.
    max_upload_mib: length of the longest request that uploads an artifact, in MiB.
    log: called with the dashboard's URL and the place of the artifacts once it listens.
    note: called with a note for each study whose artifacts are in another place.
    threads: that handle requests.

    All studies are read in the background after the start. Raises ConfigError for an address that cannot be listened
    on, or that other machines can reach without a password; StorageError for a storage and ArtifactError for an
    artifact store that cannot be opened.
    """
    auth = Auth(passwords or Passwords(), proxies=parse_proxies(trusted_proxies))
    check_open(host, auth.passwords)
    with bound(host, port) as listening:
        storage = PageStorage(open_storage(url, fast=False), open_engine(url))
        store = open_artifacts(artifacts)
        pages = build(storage, store.artifacts)
        for missing in missing_artifacts(storage.engine, store.artifacts, store.place):
            note(missing)
        application = require_auth(pages, auth)
        server = Server(application, listening, auth.refusal, threads=threads, max_upload_mib=max_upload_mib)
        name, number = listening.getsockname()[:2]
        shown = f"[{name}]" if listening.family == socket.AF_INET6 else name
        log(f"http://{shown}:{number}/dashboard/", store.place)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it logs a line for each request that waits
        gc.freeze()  # else collections over imported objects take a fifth of the time to read 10,000 trials
        threading.Thread(target=_read_ahead, args=(storage, pages), daemon=True).start()
        server.run()


def build(storage: PageStorage, artifacts: ArtifactStore) -> WSGIApplication:
    """Return the application without authentication: optuna-dashboard, our responses about studies, compression."""
    dashboard = stock(storage, artifacts)
    install_checks(dashboard, storage.engine)
    install_study_changes(dashboard, storage, artifacts)
    return checked(head_as_get(compressed(StudyPages(storage, dashboard))))


def stock(storage: PageStorage, artifacts: ArtifactStore) -> WSGIApplication:
    """Return optuna-dashboard's own application."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation warnings of optuna-dashboard's imports
        application: WSGIApplication = wsgi(storage, artifact_store=_TolerantStore(artifacts))
        return application


@dataclass(frozen=True, slots=True, eq=False)
class _TolerantStore:
    """An artifact store that removes missing artifacts without an error.

    Otherwise optuna-dashboard could not delete a study whose artifacts were removed by its retention limits.
    """

    artifacts: ArtifactStore

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return self.artifacts.open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.artifacts.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        remove_artifact(self.artifacts, artifact_id)


def _read_ahead(storage: PageStorage, application: WSGIApplication) -> None:
    """Request every study once, so that the first user does not wait until all trials are read."""
    with contextlib.suppress(SQLAlchemyError, StorageInternalError):
        for study in storage.get_all_studies():
            for path in ("", "/param_importances"):
                environ: dict[str, object] = {"HTTP_ACCEPT_ENCODING": "gzip"}
                setup_testing_defaults(environ)
                environ["PATH_INFO"] = f"/api/studies/{study._study_id}{path}"
                for _ in application(environ, lambda status, headers, exc_info=None, /: lambda data: None):
                    pass


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket bound to an address of `host`, IPv4 if it has one. Port 0 takes a free port.

    It is bound here because waitress leaves its socket and threads behind if the port is in use.

    Raises ConfigError for an address that cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda row: row[0] != socket.AF_INET)
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}; choose another --port or --host") from error
    with listening:
        yield listening
