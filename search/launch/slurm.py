"""Run workers as a SLURM job array by submitit. A job that is preempted or times out is requeued.

submitit sends SIGUSR2 before a time limit or a preemption. The worker then gets SIGTERM: its trial keeps its
checkpoint, its slot is reopened for other workers, and the requeued job starts a new worker.
"""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.files import make_folder
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

N_WORKERS = 2
POLL_S = 0.2
DEFAULTS: Mapping[str, Any] = {"timeout_min": 240, "cpus_per_task": 1, "name": "drivebeat"}
SIGNAL_BEFORE_S = 90
# A timeout is the usual end of a job here and not a failure: the job is requeued.
MAX_TIMEOUTS = 1000


class Job:
    """The function that a job runs. submitit pickles it, and calls `checkpoint` at a timeout or a preemption."""

    def __init__(self, launch: Launch, log: Path, threads: int) -> None:
        self._arguments = (launch, log, threads)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the worker and return its exit code."""
        self._process = process = start_worker(*self._arguments)
        codes: list[int] = []
        # wait in another thread: submitit's signal interrupts this one, which must not hold Popen's lock then
        threading.Thread(target=lambda: codes.append(process.wait()), daemon=True).start()
        try:
            while not codes:
                time.sleep(POLL_S)
        finally:
            stop_workers([process])
        return codes[0]

    def checkpoint(self) -> Any:
        """Stop the worker and return the submission that continues its work."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            stop_workers([self._process])
        return DelayedSubmission(Job(*self._arguments))


@dataclass(slots=True, eq=False)
class SlurmWorker:
    """The handle of a worker in a SLURM job."""

    executor: Any
    work: Job
    log: Path
    job: Any

    @property
    def name(self) -> str:
        return self.log.stem

    def exit_code(self) -> int | None:
        if not self.job.done():
            return None
        try:
            return int(self.job.result())
        except Exception:  # submitit's errors and the job's: cancelled, node failure, no result
            return LOST

    def restart(self) -> None:
        self.job = self.executor.submit(self.work)

    def last_line(self) -> str:
        return last_line_of(self.log)


def parameters(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of submitit's executor: DEFAULTS, overridden by `options`.

    Values that are whole numbers become int. Names that all of submitit's executors share stay as they are. Other names
    get submitit's prefix `slurm_`, with or without which they may be given.

    Raises LaunchError for an option that does not fit a worker of one task on one node.
    """
    shared = {"name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node"}
    values: dict[str, Any] = dict(DEFAULTS)
    for option, value in options.items():
        name = option.removeprefix("slurm_")
        if name in ("cluster", ""):
            continue
        if name in ("tasks_per_node", "nodes") and value != "1":
            raise LaunchError(f"--slurm {name}={value}: a worker is one task on one node; use --workers for more")
        try:
            values[name] = int(value)
        except ValueError:
            values[name] = value
    for name in ("timeout_min", "cpus_per_task"):
        if not isinstance(values[name], int) or values[name] < 1:
            raise LaunchError(f"--slurm {name}={values[name]}: a whole number of at least 1 is needed")
    return {name if name in shared else f"slurm_{name}": value for name, value in values.items()}


@contextmanager
def slurm_workers(launch: Launch) -> Iterator[Sequence[SlurmWorker]]:
    """Run workers as one job array. --slurm cluster=local runs the jobs as processes on this machine, for a test.

    Raises LaunchError for a missing extra, a machine without SLURM, or options that SLURM does not accept.
    """
    try:
        import submitit
    except ImportError as error:
        raise LaunchError(f"--launcher slurm: {error}; install it: pip install 'drivebeat[slurm]'") from error
    cluster = launch.slurm.get("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise LaunchError(f"--slurm cluster={cluster}: slurm or local is needed")
    if launch.per_gpu is not None:
        raise LaunchError(f"--per-gpu {launch.per_gpu}: SLURM assigns the GPUs; use --slurm gpus_per_node=1")
    if cluster == "slurm":
        refuse_sqlite(launch, "a SLURM cluster")
    if launch.threads is not None and {"cpus_per_task", "slurm_cpus_per_task"} & set(launch.slurm):
        raise LaunchError(f"--threads {launch.threads}: --slurm cpus_per_task says it already; leave one of them out")
    options = parameters(launch.slurm)
    if launch.threads is not None:
        options["cpus_per_task"] = launch.threads
    folder = launch.logs.absolute() / "slurm"
    make_folder(folder)
    folder.chmod(0o700)  # the pickled jobs hold the storage URL, which may hold a password
    try:
        executor = submitit.AutoExecutor(
            folder, cluster=cluster, slurm_max_num_timeout=MAX_TIMEOUTS, local_max_num_timeout=MAX_TIMEOUTS
        )
        executor.update_parameters(**options, slurm_signal_delay_s=SIGNAL_BEFORE_S)
        logs = [open_log(launch.logs, i) for i in range(launch.n_workers or N_WORKERS)]
        works = [Job(launch, log, options["cpus_per_task"]) for log in logs]
        with executor.batch():
            jobs = [executor.submit(work) for work in works]
    except (RuntimeError, ValueError, NameError, OSError) as error:
        raise LaunchError(f"--launcher slurm: {' '.join(str(error).split())[:200]}; is sbatch on PATH?") from error
    workers = [SlurmWorker(executor, work, log, job) for work, log, job in zip(works, logs, jobs, strict=True)]
    try:
        yield workers
    finally:
        _cancel(workers)


def _cancel(workers: Sequence[SlurmWorker]) -> None:
    """Cancel the jobs that have not ended, and wait for them for up to STOP_TIMEOUT_S.

    scancel sends SIGTERM, and SIGKILL after SLURM's KillWait (30 s by default).
    """
    for worker in workers:
        if not worker.job.done():
            with contextlib.suppress(subprocess.CalledProcessError):
                worker.job.cancel()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline and not all(worker.job.done() for worker in workers):
        time.sleep(POLL_S)
