"""A deterministic study comes out the same to the last byte, however many workers run it and whoever is killed."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from search.storage.open import open_engine, open_storage
from search.storage.tables import set_budget
from search.study.export import export
from search.study.spec import StudySpec
from search.study.study import create, load_study
from search.worker.generations import visible_study
from tests.support.program import command, environment
from tests.support.waiting import wait_for


def _search(spec: StudySpec, folder: Path, n_workers: int, kill_after: int | None = None) -> bytes:
    """Search with real worker processes; kill one of them once `kill_after` trials exist; the exported file."""
    folder.mkdir()
    url = f"sqlite:///{folder}/studies.db"
    study = create(spec, open_storage(url), open_engine(url))[0].optuna
    worker = command("work", spec.name, "--artifacts", str(folder / "artifacts"))

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(worker, env=environment(DRIVEBEAT_STORAGE=url), cwd=folder, stdout=subprocess.DEVNULL)

    processes = [start() for _ in range(n_workers)]
    try:
        if kill_after is not None:
            wait_for(lambda: len(study.get_trials(deepcopy=False)) >= kill_after, 200.0, 0.02)
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait()
            processes.append(start())
        assert [process.wait(100) for process in processes[kill_after is not None :]] == [0] * n_workers
    finally:
        for process in processes:
            process.kill()
    path = folder / "best.yaml"
    export([load_study(spec.name, open_storage(url))], path)
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_export_is_equal_on_one_worker_and_on_three_with_a_kill(
    make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """Its slots are sampled by a Gaussian process and by TPE in turn."""
    spec = make_spec(
        deterministic=True,
        generation=3,
        budget={"trials": 8},
        search=["width", "learning_rate", "gain"],
        sampler={"name": "auto", "startup_trials": 2},
        pruner={"name": "median", "startup_trials": 1, "warmup_epochs": 0},
    )
    assert _search(spec, tmp_path / "one", 1) == _search(spec, tmp_path / "three", 3, kill_after=4)


def test_a_trial_knows_earlier_generations_only(make_spec: Callable[..., StudySpec], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    engine = open_engine(url)
    study = create(make_spec(deterministic=True, generation=2), open_storage(url), engine)[0]
    set_budget(engine, study.identity, 10, None)
    first = visible_study(study, engine, 0)
    assert first is not None and first.get_trials() == []
    assert visible_study(study, engine, 2) is None, "the first generation has not even begun"


def test_time_has_no_say_in_a_deterministic_study(make_spec: Callable[..., StudySpec]) -> None:
    with pytest.raises(ValueError, match="cannot depend on time"):
        make_spec(deterministic=True, budget={"trials": 4, "hours": 1.0})
