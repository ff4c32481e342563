"""Workers as an array of SLURM jobs, by submitit: a pre-empted or timed-out job gives its trial back and is requeued.

submitit's signal (SIGUSR2, before a time limit or a pre-emption) becomes the worker's SIGTERM: the trial's checkpoint
stands, its slot is opened for whoever is free, and the requeued job goes on as a new worker.
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
from search.launch.base import LOST, STOP_TIMEOUT_S, Launch, last_line_of, refuse_sqlite, start_worker, stop_workers

N_WORKERS = 2
POLL_S = 0.2
DEFAULTS: Mapping[str, Any] = {"timeout_min": 240, "cpus_per_task": 1, "name": "drivebeat"}
SIGNAL_BEFORE_S = 90
# Timing out is the usual end of a job here, not a failure: the search goes on after it.
MAX_TIMEOUTS = 1000


class Job:
    """What a job runs; submitit pickles it, and calls `checkpoint` when the job's time or machine is taken."""

    def __init__(self, launch: Launch, log: Path, threads: int) -> None:
        self._arguments = (launch, log, threads)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """The worker's exit code."""
        self._process = process = start_worker(*self._arguments)
        codes: list[int] = []
        # waited for elsewhere: this thread is interrupted by submitit's signal, and must hold no lock then
        threading.Thread(target=lambda: codes.append(process.wait()), daemon=True).start()
        try:
            while not codes:
                time.sleep(POLL_S)
        finally:
            stop_workers([process])
        return codes[0]

    def checkpoint(self) -> Any:
        """Stop the worker in order; what to submit in its place."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            stop_workers([self._process])
        return DelayedSubmission(Job(*self._arguments))


@dataclass(slots=True, eq=False)
class SlurmWorker:
    """A job, and how to submit another."""

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
        except Exception:  # submitit's own errors and the job's: cancelled, node failure, no result
            return LOST

    def restart(self) -> None:
        self.job = self.executor.submit(self.work)

    def last_line(self) -> str:
        return last_line_of(self.log)


def parameters(options: Mapping[str, str]) -> dict[str, Any]:
    """What submitit's executor is told: DEFAULTS and `options`, whole numbers as such. Raises LaunchError.

    Names that submitit shares over its executors stand as they are, others get its prefix `slurm_`, with which they may
    be given too.
    """
    shared = {"name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node"}
    values: dict[str, Any] = dict(DEFAULTS)
    for given, value in options.items():
        name = given.removeprefix("slurm_")
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
    """The seats, as one job array. --slurm cluster=local runs the jobs as processes here, to try it out.

    Raises LaunchError for a missing extra, no SLURM on this machine, or what it does not accept.
    """
    try:
        import submitit
    except ImportError as error:
        raise LaunchError(f"--launcher slurm: {error}; install it: pip install 'drivebeat[slurm]'") from error
    cluster = launch.slurm.get("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise LaunchError(f"--slurm cluster={cluster}: slurm or local is needed")
    if launch.per_gpu is not None:
        raise LaunchError(f"--per-gpu {launch.per_gpu}: SLURM gives out GPUs itself; use --slurm gpus_per_node=1")
    if cluster == "slurm":
        refuse_sqlite(launch, "a SLURM cluster")
    told = parameters(launch.slurm)
    folder = launch.logs.absolute() / "slurm"
    make_folder(folder)
    folder.chmod(0o700)  # the pickled jobs hold the storage URL, and with it perhaps a password
    seats: list[SlurmWorker] = []
    try:
        executor = submitit.AutoExecutor(
            folder, cluster=cluster, slurm_max_num_timeout=MAX_TIMEOUTS, local_max_num_timeout=MAX_TIMEOUTS
        )
        executor.update_parameters(**told, slurm_signal_delay_s=SIGNAL_BEFORE_S)
        logs = [launch.logs.absolute() / f"worker-{i}.log" for i in range(launch.n_workers or N_WORKERS)]
        for log in logs:
            log.unlink(missing_ok=True)
        works = [Job(launch, log, told["cpus_per_task"]) for log in logs]
        with executor.batch():
            jobs = [executor.submit(work) for work in works]
    except (RuntimeError, ValueError, NameError, OSError) as error:
        raise LaunchError(f"--launcher slurm: {' '.join(str(error).split())[:200]}; is sbatch on PATH?") from error
    seats = [SlurmWorker(executor, work, log, job) for work, log, job in zip(works, logs, jobs, strict=True)]
    try:
        yield seats
    finally:
        _cancel(seats)


def _cancel(seats: Sequence[SlurmWorker]) -> None:
    """scancel sends SIGTERM, and SIGKILL after SLURM's KillWait (30 s where nobody changed it)."""
    for seat in seats:
        if not seat.job.done():
            with contextlib.suppress(subprocess.CalledProcessError):
                seat.job.cancel()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline and not all(seat.job.done() for seat in seats):
        time.sleep(POLL_S)
