"""Workers on a Ray cluster: an actor for each, which runs `drivebeat work` beside itself wherever Ray puts it.

Every machine of the cluster needs this checkout and environment, the recordings and the artifacts at the same paths.
"""

import importlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import LaunchError
from search.launch.base import (
    LOST,
    STOP_TIMEOUT_S,
    Launch,
    cores,
    last_line_of,
    refuse_sqlite,
    start_worker,
    stop_workers,
)

THREADS = 1
N_WORKERS = 2
# Nothing of ours goes through Ray's object store; it wants about 75 MB at least.
STORE_BYTES = 80 * 2**20


class Host:
    """Runs inside an actor: a worker's process and what is asked of it."""

    def __init__(self, launch: Launch, log: Path, folder: Path) -> None:
        os.chdir(folder)  # paths in study files are relative to it
        self._log = log
        self._process: subprocess.Popen[bytes] = start_worker(launch, log, THREADS)

    def state(self) -> tuple[int | None, str]:
        """Exit code and, of an ended worker, the last line."""
        code = self._process.poll()
        return code, last_line_of(self._log) if code is not None else ""

    def stop(self) -> None:
        """End the worker in order."""
        stop_workers([self._process])


@dataclass(slots=True, eq=False)
class RayWorker:
    """An actor, asked for its worker's state without ever waiting for the answer."""

    ray: Any
    actor_class: Any
    arguments: tuple[Any, ...]
    name: str
    actor: Any
    asked: Any = None
    state: tuple[int | None, str] = (None, "")

    def exit_code(self) -> int | None:
        if self.state[0] is not None:
            return self.state[0]
        if self.asked is None:
            self.asked = self.actor.state.remote()
        if self.ray.wait([self.asked], timeout=0)[0]:
            try:
                self.state = self.ray.get(self.asked)
            except self.ray.exceptions.RayActorError as error:
                self.state = (LOST, f"its machine or Ray process is gone: {str(error).splitlines()[0]}")
            except self.ray.exceptions.RayError as error:
                self.state = (LOST, str(error).strip().splitlines()[-1])
            self.asked = None
        return self.state[0]

    def restart(self) -> None:
        self.ray.kill(self.actor)
        self.actor = self.actor_class.remote(*self.arguments)
        self.asked, self.state = None, (None, "")

    def last_line(self) -> str:
        return self.state[1]


def gpu_share(n_workers: int, n_gpus: float, per_gpu: int | None) -> float:
    """The part of a GPU for each worker: 1/per_gpu, else an even part of those there are, at most one; 0 without.

    Cut to Ray's grain of 1e-4, so that the parts of one GPU never add up to more than it. Raises LaunchError.
    """
    if n_gpus < 1:
        if per_gpu is not None:
            raise LaunchError(f"--per-gpu {per_gpu}: the Ray cluster has no GPU; leave it out")
        return 0.0
    packed = per_gpu or -(-n_workers // int(n_gpus))
    return 10_000 // packed / 10_000


@contextmanager
def ray_workers(launch: Launch) -> Iterator[Sequence[RayWorker]]:
    """The seats on the cluster at ray_address or RAY_ADDRESS, else on a new one of this machine.

    Workers that the cluster has no room for wait for it. Raises LaunchError for a missing extra, a cluster that does
    not answer, or a database that its machines cannot share.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported: send nothing home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no GPU asked for: leave what is visible
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise LaunchError(f"--launcher ray: {error}; install it: pip install 'drivebeat[ray]'") from error
    _connect(ray, launch)
    seats: list[RayWorker] = []
    try:
        if sum(bool(node["Alive"]) for node in ray.nodes()) > 1:
            refuse_sqlite(launch, "a Ray cluster")
        resources = ray.cluster_resources()
        n_workers = launch.n_workers or int(resources.get("GPU", 0)) * (launch.per_gpu or 1) or N_WORKERS
        share = gpu_share(n_workers, resources.get("GPU", 0), launch.per_gpu)
        actor_class = ray.remote(num_cpus=THREADS, num_gpus=share)(Host)
        for i in range(n_workers):
            log = (launch.logs / f"worker-{i}.log").absolute()
            log.unlink(missing_ok=True)
            arguments = (launch, log, Path.cwd())
            seats.append(RayWorker(ray, actor_class, arguments, log.stem, actor_class.remote(*arguments)))
        yield seats
    finally:
        asked = [seat.actor.stop.remote() for seat in seats if seat.state[0] is None]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=STOP_TIMEOUT_S + 5)
        ray.shutdown()


def _connect(ray: Any, launch: Launch) -> None:
    address = launch.ray_address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if not address or address == "local":
        room = max(cores(), launch.n_workers or N_WORKERS)
        address = "local"
        options |= {"num_cpus": room, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = str(error).strip().splitlines()
        raise LaunchError(
            f"--launcher ray: no cluster at {address} ({said[0] if said else type(error).__name__}); "
            "start one with `ray start --head`, or leave the address out for a new one on this machine"
        ) from error
