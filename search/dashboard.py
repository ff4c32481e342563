"""optuna-dashboard over the same storage, cached, with artifacts, behind a production server."""

import contextlib
import socket
import warnings
from collections.abc import Callable, Iterator

import waitress
from optuna_dashboard import wsgi

from search.storage import open_storage
from search.store import open_store
from training.decode import ConfigError


def serve(
    url: str, artifacts: str, host: str, port: int, *, say: Callable[[str], None] = print, threads: int = 8
) -> None:
    """Serve the dashboard until interrupted; `say` gets its address once it listens.

    Raises StorageError for a database and StoreError for artifacts that cannot be opened, ConfigError for an address
    that cannot be listened at.
    """
    with bound(host, port) as listening:
        store = open_store(artifacts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the dashboard's own imports use
            application = wsgi(open_storage(url), artifact_store=store.artifacts)
        server = waitress.create_server(application, sockets=[listening], threads=threads, ident="drivebeat")
        name, number = listening.getsockname()[:2]
        shown = f"[{name}]" if listening.family == socket.AF_INET6 else name
        say(f"http://{shown}:{number}/dashboard/")
        server.run()


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
