"""Run workers on a Ray cluster: an actor for each, which starts `drivebeat work` as a process on its machine.

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
    last_line_of,
    open_log,
    refuse_sqlite,
    start_worker,
    stop_workers,
)
from training.device import cores

THREADS = 1
N_WORKERS = 2
# Workers do not use Ray's object store. Ray requires at least about 75 MB.
STORE_BYTES = 80 * 2**20


class Host:
    """The actor: runs one worker process on the machine where Ray places it."""

    def __init__(self, launch: Launch, log: Path, folder: Path) -> None:
        os.chdir(folder)  # paths in study files are relative to it
        self._log = log
        self._process: subprocess.Popen[bytes] = start_worker(launch, log, launch.threads or THREADS)

    def state(self) -> tuple[int | None, str]:
        """Return the worker's exit code, None while it runs, and the last line of its log once it has ended."""
        code = self._process.poll()
        return code, last_line_of(self._log) if code is not None else ""

    def stop(self) -> None:
        """Stop the worker with SIGTERM, then SIGKILL."""
        stop_workers([self._process])


@dataclass(slots=True, eq=False)
class RayWorker:
    """The handle of a worker in an actor. Its state is requested without waiting for the reply.

    actor_class, arguments: to make the actor, again after a crash.
    request: the pending request for the state, None where there is none.
    state: exit code and last line, as last received.
    """

    ray: Any
    actor_class: Any
    arguments: tuple[Any, ...]
    name: str
    actor: Any
    request: Any = None
    state: tuple[int | None, str] = (None, "")

    def exit_code(self) -> int | None:
        if self.state[0] is not None:
            return self.state[0]
        if self.request is None:
            self.request = self.actor.state.remote()
        if self.ray.wait([self.request], timeout=0)[0]:
            try:
                self.state = self.ray.get(self.request)
            except self.ray.exceptions.RayActorError as error:
                self.state = (LOST, f"its machine or Ray process is gone: {str(error).splitlines()[0]}")
            except self.ray.exceptions.RayError as error:
                self.state = (LOST, str(error).strip().splitlines()[-1])
            self.request = None
        return self.state[0]

    def restart(self) -> None:
        self.ray.kill(self.actor)
        self.actor = self.actor_class.remote(*self.arguments)
        self.request, self.state = None, (None, "")

    def last_line(self) -> str:
        return self.state[1]


def gpu_share(n_workers: int, n_gpus: float, per_gpu: int | None) -> float:
    """Return the fraction of a GPU that each worker reserves, from 0 to 1.

    It is 1/per_gpu, without per_gpu an equal share of all GPUs, and 0 where there is no GPU. It is rounded down to
    Ray's resolution of 1e-4, so that the fractions on one GPU never exceed 1.

    Raises LaunchError for per_gpu on a cluster without a GPU.
    """
    if n_gpus < 1:
        if per_gpu is not None:
            raise LaunchError(f"--per-gpu {per_gpu}: the Ray cluster has no GPU; leave it out")
        return 0.0
    on_each = per_gpu or -(-n_workers // int(n_gpus))
    return 10_000 // on_each / 10_000


@contextmanager
def ray_workers(launch: Launch) -> Iterator[Sequence[RayWorker]]:
    """Run workers on the cluster at ray_address or RAY_ADDRESS, else on a new cluster on this machine.

    Workers that find no free resources wait for them.

    Raises LaunchError for a missing extra, a cluster that does not answer, or a database that several machines cannot
    share.
    """
    # both are read when Ray is imported
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a worker without a reserved GPU may use CUDA
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise LaunchError(f"--launcher ray: {error}; install it: pip install 'drivebeat[ray]'") from error
    _connect(ray, launch)
    workers: list[RayWorker] = []
    try:
        if sum(bool(node["Alive"]) for node in ray.nodes()) > 1:
            refuse_sqlite(launch, "a Ray cluster")
        resources = ray.cluster_resources()
        n_workers = launch.n_workers or int(resources.get("GPU", 0)) * (launch.per_gpu or 1) or N_WORKERS
        share = gpu_share(n_workers, resources.get("GPU", 0), launch.per_gpu)
        actor_class = ray.remote(num_cpus=launch.threads or THREADS, num_gpus=share)(Host)
        for i in range(n_workers):
            log = open_log(launch.logs, i)
            arguments = (launch, log, Path.cwd())
            workers.append(RayWorker(ray, actor_class, arguments, log.stem, actor_class.remote(*arguments)))
        yield workers
    finally:
        stops = [worker.actor.stop.remote() for worker in workers if worker.state[0] is None]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=STOP_TIMEOUT_S + 5)
        ray.shutdown()


def _connect(ray: Any, launch: Launch) -> None:
    """Connect to the cluster that `launch` names, or start one. Raises LaunchError where that fails."""
    address = launch.ray_address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if not address or address == "local":
        n_cpus = max(cores(), (launch.n_workers or N_WORKERS) * (launch.threads or THREADS))
        address = "local"
        options |= {"num_cpus": n_cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        lines = str(error).strip().splitlines()
        raise LaunchError(
            f"--launcher ray: no cluster at {address} ({lines[0] if lines else type(error).__name__}); "
            "start one with `ray start --head`, or leave out the address to start one on this machine"
        ) from error
