"""optuna-dashboard over the same storage, cached, with artifacts, behind a production server."""

import warnings
from collections.abc import Callable
from pathlib import Path

import waitress
from optuna.artifacts import FileSystemArtifactStore
from optuna_dashboard import wsgi

from search.storage import open_storage
from training.decode import ConfigError


def serve(
    url: str, artifacts: Path, host: str, port: int, *, say: Callable[[str], None] = print, threads: int = 8
) -> None:
    """Serve the dashboard until interrupted; `say` gets its address once it listens.

    Raises StorageError for a database that cannot be opened, ConfigError for an address that cannot be listened at.
    """
    artifacts.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the dashboard's own imports use
        application = wsgi(open_storage(url), artifact_store=FileSystemArtifactStore(str(artifacts)))
    try:
        server = waitress.create_server(application, host=host, port=port, threads=threads, ident="drivebeat")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot listen at {host}:{port}: {error}; choose another --port or --host") from error
    # a name that stands for several addresses makes several sockets
    listened = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    say(f"http://{listened[0][0]}:{listened[0][1]}/dashboard/")
    server.run()
