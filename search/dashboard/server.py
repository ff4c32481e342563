"""optuna-dashboard over the same storage, quick on large studies, behind a door and a production server."""

import contextlib
import gc
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

import waitress
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import StorageInternalError
from optuna_dashboard import wsgi
from sqlalchemy.exc import SQLAlchemyError

from search.artifacts.folder import open_artifacts
from search.dashboard.auth import Passwords, behind_door, check_open
from search.dashboard.cache import StudyPages
from search.dashboard.http import compressed
from search.dashboard.storage import PageStorage
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
    log: Callable[[str], None] = print,
    threads: int = 8,
) -> None:
    """Serve the dashboard until interrupted; `say` gets its address once it listens.

    Large studies are read in the background from then on. Raises ConfigError for an address that cannot be listened
    at, or that others than this machine reach while there is no password; StorageError for a database and ArtifactError
    for artifacts that cannot be opened.
    """
    passwords = passwords or Passwords()
    check_open(host, passwords)
    with bound(host, port) as listening:
        storage = PageStorage(open_storage(url, fast=False), open_engine(url))
        pages = build(storage, open_artifacts(artifacts).artifacts)
        server = waitress.create_server(
            behind_door(pages, passwords),
            sockets=[listening],
            threads=threads,
            ident="drivebeat",
            # the door looks at them itself, and trusts them with nothing that a browser could not say
            clear_untrusted_proxy_headers=False,
        )
        name, number = listening.getsockname()[:2]
        shown = f"[{name}]" if listening.family == socket.AF_INET6 else name
        log(f"http://{shown}:{number}/dashboard/")
        gc.freeze()  # what is imported stays: searching it over and over takes a fifth of reading ten thousand trials
        threading.Thread(target=_read_ahead, args=(storage, pages), daemon=True).start()
        server.run()


def build(storage: PageStorage, artifacts: ArtifactStore) -> WSGIApplication:
    """The application behind the door: optuna-dashboard, its answers about studies made here, all of it compressed."""
    return compressed(StudyPages(storage, stock(storage, artifacts)))


def stock(storage: PageStorage, artifacts: ArtifactStore) -> WSGIApplication:
    """optuna-dashboard's own application."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the dashboard's own imports use
        application: WSGIApplication = wsgi(storage, artifact_store=_Forgiving(artifacts))
        return application


@dataclass(frozen=True, slots=True, eq=False)
class _Forgiving:
    """A store in which what is gone already can be removed: else a study that keeps to its bounds cannot be deleted."""

    artifacts: ArtifactStore

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return self.artifacts.open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.artifacts.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        with contextlib.suppress(ArtifactNotFound, FileNotFoundError):
            self.artifacts.remove(artifact_id)


def _read_ahead(storage: PageStorage, application: WSGIApplication) -> None:
    """Ask for every study once, so that the first who looks does not wait for ten thousand trials to be read."""
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
    """A socket that is bound to one address of `host`, IPv4 before IPv6; port 0 takes a free one.

    Bound here and not by the server, which would leave its socket and threads behind where it cannot have the port.
    Raises ConfigError for an address that cannot be listened at.
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
        raise ConfigError(f"cannot listen at {host}:{port}: {reason}; choose another --port or --host") from error
    with listening:
        yield listening
