"""Launchers: who runs where, who is started again, what is refused."""

import pickle
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import search.launch.base
from search.errors import LaunchError
from search.launch.base import LOST, Launch, WorkerHandle, last_line_of, pairs
from search.launch.launch import GAVE_UP, MAX_RESTARTS, STEADY_S, launcher, restart_crashed, supervise
from search.launch.local import N_WORKERS, Resources, resources_of, visible_gpus
from search.launch.ray import gpu_share, ray_workers
from search.launch.slurm import parameters, slurm_workers

POSTGRES = "postgresql://me:hush@host/studies"


def a_launch(folder: Path, **changes: Any) -> Launch:
    wanted: dict[str, Any] = {"n_workers": 2, "url": f"sqlite:///{folder}/studies.db", **changes}
    return Launch(("tiny",), artifacts=str(folder / "artifacts"), logs=folder / "logs", **wanted)


# --- who runs where -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_workers", "gpus", "per_gpu", "n_cores", "expected"),
    [
        (None, (), None, 8, [(None, 4)] * N_WORKERS),
        (4, (), None, 2, [(None, 1)] * 4),
        (None, ("0", "1"), None, 16, [("0", 8), ("1", 8)]),
        (None, ("0", "1"), 2, 16, [("0", 4), ("1", 4), ("0", 4), ("1", 4)]),
        (3, ("0", "1"), 2, 16, [("0", 5), ("1", 5), ("0", 5)]),
        (2, ("GPU-7f3a",), None, 4, [("GPU-7f3a", 2)] * 2),
    ],
)
def test_a_worker_for_each_device_slot_with_a_fair_share_of_the_threads(
    n_workers: int | None, gpus: tuple[str, ...], per_gpu: int | None, n_cores: int, expected: list[Any]
) -> None:
    assert resources_of(n_workers, gpus, per_gpu, n_cores) == tuple(Resources(*pair) for pair in expected)


def test_a_pickle_of_a_version_with_fewer_fields_gets_their_defaults(tmp_path: Path) -> None:
    """A SLURM job that waits in a queue holds one."""
    launch = a_launch(tmp_path, threads=3, trusted=("a" * 64,))
    assert pickle.loads(pickle.dumps(launch)) == launch
    old = object.__new__(Launch)
    old.__setstate__([getattr(launch, field.name) for field in fields(launch)][:-3])
    assert old == replace(launch, threads=None, trusted=(), slurm={})


def test_threads_that_are_given_are_not_shared() -> None:
    assert resources_of(4, [], None, 2, threads=3) == (Resources(None, 3),) * 4


@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 64))
def test_gpus_fill_evenly_and_threads_never_exceed_the_cores(n_workers: int, n_gpus: int, n_cores: int) -> None:
    chosen = resources_of(n_workers, [str(i) for i in range(n_gpus)], None, n_cores)
    held = [sum(slot.gpu == str(i) for slot in chosen) for i in range(n_gpus)]
    assert max(held) - min(held) <= 1
    assert all(slot.threads >= 1 for slot in chosen)
    assert sum(slot.threads for slot in chosen) <= max(n_cores, n_workers)


@pytest.mark.parametrize(
    ("n_workers", "gpus", "words"),
    [(5, ("0", "1"), "2 GPUs with --per-gpu 2 hold 4; use --per-gpu 3"), (1, (), "no GPU is visible")],
)
def test_more_workers_than_slots_are_refused_with_what_to_do(n_workers: int, gpus: tuple[str, ...], words: str) -> None:
    with pytest.raises(LaunchError, match=words):
        resources_of(n_workers, gpus, 2, 8)


@pytest.mark.parametrize(
    ("value", "n_devices", "expected"),
    [(None, 2, ("0", "1")), ("3,1", 2, ("3", "1")), ("GPU-a, GPU-b", 1, ("GPU-a",)), ("", 0, ()), ("-1", 0, ())],
)
def test_cuda_visible_devices_is_honoured(value: str | None, n_devices: int, expected: tuple[str, ...]) -> None:
    assert visible_gpus({} if value is None else {"CUDA_VISIBLE_DEVICES": value}, n_devices) == expected


@given(st.integers(1, 100), st.integers(1, 16))
def test_ray_shares_of_a_gpu_make_room_for_all_workers_and_never_add_up_to_more(n_workers: int, n_gpus: int) -> None:
    share = gpu_share(n_workers, n_gpus, None)
    on_one = round(share * 10_000)
    assert 0 < share <= 1
    assert n_gpus * (10_000 // on_one) >= n_workers
    assert gpu_share(n_workers, n_gpus, 3) == 0.3333


def test_ray_without_a_gpu_asks_for_none() -> None:
    assert gpu_share(4, 0, None) == 0.0
    with pytest.raises(LaunchError, match="has no GPU"):
        gpu_share(4, 0, 2)


def test_device_and_threads_stand_in_the_environment_before_the_worker_imports_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import os; print(*(os.environ[n] for n in ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS', 'STORAGE_NAME')))"
    program = program.replace("STORAGE_NAME", "DRIVEBEAT_STORAGE")
    monkeypatch.setattr(search.launch.base, "work_command", lambda launch, threads: [sys.executable, "-c", program])
    process = search.launch.base.start_worker(
        a_launch(tmp_path, url=POSTGRES), tmp_path / "logs" / "w.log", 3, "GPU-7f3a"
    )
    assert process.wait(30) == 0
    assert last_line_of(tmp_path / "logs" / "w.log") == f"GPU-7f3a 3 {POSTGRES}"


def test_the_command_holds_no_storage_url(tmp_path: Path) -> None:
    """Others on the machine see command lines, and a URL may hold a password."""
    assert "hush" not in " ".join(search.launch.base.work_command(a_launch(tmp_path, url=POSTGRES), 1))


# --- who is started again -------------------------------------------------------------------------------------------


class FakeHandle:
    def __init__(self, code: int | None) -> None:
        self.name, self.code, self.n_starts = "fake", code, 0

    def exit_code(self) -> int | None:
        return self.code

    def restart(self) -> None:
        self.n_starts += 1

    def last_line(self) -> str:
        return ""


@pytest.mark.parametrize("code", [-9, 1, 75, LOST])
def test_a_worker_that_died_is_started_again_after_growing_pauses_and_not_for_ever(code: int) -> None:
    handle = FakeHandle(code)
    workers = supervise([handle])
    starts = []
    for now in range(200):
        starts += [now for _ in restart_crashed(workers, float(now))]
    assert starts == [1, 4, 9, 18, 35]  # 1, 2, 4, 8, 16 s after each death is seen, a look each second
    assert handle.n_starts == MAX_RESTARTS
    assert not workers[0].at_work


def test_a_successor_that_worked_for_long_starts_the_count_of_deaths_anew() -> None:
    handle = FakeHandle(-9)
    workers, now = supervise([handle]), 0.0
    for n in range(3 * MAX_RESTARTS):
        handle.code = -9
        while handle.n_starts == n:
            assert workers[0].at_work
            now += 1.0
            restart_crashed(workers, now)
        handle.code = None
        for _ in range(2):
            now += STEADY_S
            restart_crashed(workers, now)
    assert handle.n_starts == 3 * MAX_RESTARTS


@pytest.mark.parametrize("code", [None, 0, GAVE_UP])
def test_a_worker_that_lives_is_done_or_gave_up_is_left_alone(code: int | None) -> None:
    handle: WorkerHandle = FakeHandle(code)
    workers = supervise([handle])
    assert not any(restart_crashed(workers, float(now)) for now in range(60))
    assert workers[0].at_work == (code is None)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_an_unknown_launcher_is_told_with_the_near_one() -> None:
    with pytest.raises(LaunchError, match=r"no launcher 'slrum'.*slurm.*known: local, ray, slurm"):
        launcher("slrum")


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_told_in_one_line_with_the_command(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    words = rf"pip install 'drivebeat\[{name}\]'"
    with pytest.raises(LaunchError, match=words) as told, launcher(name)(a_launch(tmp_path)):
        pass
    assert "\n" not in str(told.value)


def test_sqlite_is_refused_where_several_machines_would_share_it(tmp_path: Path) -> None:
    words = "SQLite, which the machines of a SLURM cluster cannot share; use PostgreSQL"
    with pytest.raises(LaunchError, match=words), slurm_workers(a_launch(tmp_path)):
        pass


def test_a_machine_without_slurm_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = r"--launcher slurm: .*; is sbatch on PATH"
    with pytest.raises(LaunchError, match=words) as told, slurm_workers(a_launch(tmp_path, url=POSTGRES)):
        pass
    assert "\n" not in str(told.value)
    assert "hush" not in str(told.value)


def test_a_ray_cluster_that_does_not_answer_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(address: str, **options: object) -> None:
        raise ConnectionError(f"ray client at {address} timed out\nsecond line")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    words = r"no cluster at 10.0.0.1:6379 \(ray client at 10.0.0.1:6379 timed out\); start one"
    with (
        pytest.raises(LaunchError, match=words) as told,
        ray_workers(a_launch(tmp_path, ray_address="10.0.0.1:6379")),
    ):
        pass
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("partition", ["partition=gpu", "slurm_partition=gpu"])
def test_slurm_options_reach_submitit_by_its_names(partition: str) -> None:
    told = parameters(pairs([partition, "timeout-min=600", "gpus_per_node=1", "cluster=slurm"]))
    assert told == {
        "slurm_partition": "gpu",
        "timeout_min": 600,
        "gpus_per_node": 1,
        "cpus_per_task": 1,
        "name": "drivebeat",
    }


@pytest.mark.parametrize(
    ("option", "words"),
    [("partition", "not NAME=VALUE"), ("nodes=2", "use --workers"), ("timeout_min=long", "whole number")],
)
def test_bad_slurm_options_are_told(option: str, words: str) -> None:
    with pytest.raises(LaunchError, match=words):
        parameters(pairs([option]))
