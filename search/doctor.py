"""Check that this machine can run a search, and name a fix for each problem."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optuna.storages import BaseStorage
from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine, inspect

from data.errors import shell_command
from search.artifacts.open import open_artifacts
from search.storage.open import masked, network_file_system, open_engine, open_storage, sqlite_file
from search.storage.readable import open_readable
from search.storage.tables import SCHEMA_VERSION, database_time
from search.study.agreement import disagreements, foreign_running
from search.study.record import readable_records
from training.extras import INSTALL, TRAIN, absent_packages
from training.switches import read_switches

if TYPE_CHECKING:
    from data.config import DataConfig

GIB = 1024**3
MIN_FREE, ENOUGH_FREE = 1 * GIB, 5 * GIB
MAX_SKEW_S = 5.0
EXTRAS = {
    "postgres": "psycopg",
    "mysql": "pymysql",
    "s3": "boto3",
    "ray": "ray",
    "slurm": "submitit",
    "mlflow": "mlflow",
    "tensorboard": "tensorboard",
    "tdms": "nptdms",
}
STYLES = {"ok": "green", "warning": "yellow", "broken": "red"}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    name: of what was checked.
    state: "ok"; "warning" if a search runs but may not run well; "broken" if it does not run.
    found: what the check found.
    fix: what to do, "" if there is nothing to do.
    """

    name: str
    state: Literal["ok", "warning", "broken"]
    found: str
    fix: str = ""


def examine(url: str, artifacts: str, study: str | None, *, fixing: bool = False) -> list[Check]:
    """Run all checks and return their results. A check that raises an error gives a "broken" result.

    url: of the storage.
    artifacts: folder or s3:// address of the artifact store.
    study: a study in the storage, or a study file, whose recordings are read too; None to read no recordings.
    fixing: fix what Optuna's tables and ours disagree on.
    """
    steps: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", lambda: [_python()]),
        ("packages", lambda: [_packages(), _training(), _extras(url)]),
        ("storage", lambda: _storage(url, fixing)),
        ("artifacts", lambda: [_artifacts(artifacts)]),
        ("disk", lambda: _disks(url, artifacts)),
        ("switches", _switches),
    ]
    if not absent_packages():
        steps.insert(2, ("device", lambda: [_device(), _threads()]))
        steps.append(("trackers", lambda: _trackers(url)))
    if study is not None:
        steps.append(("recordings", lambda: _recordings(study, url)))
    checks = []
    for name, step in steps:
        try:
            checks += step()
        except Exception as error:  # any error here is a finding for the user
            checks.append(_broken(name, error))
    return checks


def _broken(name: str, error: Exception) -> Check:
    """Return the result for an error, whose text after the last "; " is the fix."""
    found, _, fix = " ".join(str(error).split()).rpartition("; ")
    return Check(name, "broken", found or fix or type(error).__name__, fix if found else "")


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _packages() -> Check:
    trains, wrong = not absent_packages(), []
    for line in importlib.metadata.requires("drivebeat") or []:
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": "train" if trains else ""}):
            continue
        try:
            got = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is not installed")
            continue
        if not needed.specifier.contains(got, prereleases=True):
            wrong.append(f"{needed.name} is {got}, {needed.specifier} is needed")
    if wrong:
        return Check(
            "packages",
            "broken",
            "; ".join(wrong),
            f"pip install -c constraints.txt -e '.{'[train]' if trains else ''}'",
        )
    named = ("torch", "optuna", "sqlalchemy") if trains else ("optuna", "sqlalchemy")
    return Check("packages", "ok", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in named))


def _training() -> Check:
    absent = absent_packages()
    if not absent:
        return Check("train", "ok", "installed")
    if len(absent) == len(TRAIN):
        found = "not installed; this installation shows studies, and neither creates nor trains any"
        return Check("train", "ok", found, f"to train: {INSTALL}")
    return Check("train", "warning", f"installed in part; missing: {', '.join(absent)}", INSTALL)


def _extras(url: str) -> Check:
    here = [name for name, module in EXTRAS.items() if importlib.util.find_spec(module) is not None]
    absent = [name for name in EXTRAS if name not in here]
    found = f"installed: {', '.join(here) or 'none'}" + (f"; not: {', '.join(absent)}" if absent else "")
    fix = f"to add one: pip install 'drivebeat[{absent[0]}]'" if absent else ""
    return Check("extras", "ok", found, fix)


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        return Check("device", "ok", f"cuda: {', '.join(names)}; {free / GIB:.1f} of {total / GIB:.1f} GiB free")
    if shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU only"
        fix = "pip install torch --index-url https://download.pytorch.org/whl/cu126, or update the driver"
        return Check(
            "device", "warning", f"cpu, though an NVIDIA driver is installed: torch {torch.__version__} is {built}", fix
        )
    return Check("device", "ok", f"cpu; torch {torch.__version__} sees no CUDA device")


def _threads() -> Check:
    import torch

    from training.device import cores

    n_cores, threads = cores(), torch.get_num_threads()
    if threads > n_cores:
        return Check("threads", "warning", f"{threads} threads on {n_cores} cores", f"export OMP_NUM_THREADS={n_cores}")
    return Check("threads", "ok", f"{n_cores} CPU cores, {threads} threads")


def _storage(url: str, fixing: bool) -> list[Check]:
    path = sqlite_file(url)
    if path is not None and not path.exists():
        if kind := network_file_system(path):
            fix = "put it on a local disk, or use postgresql://user@host/name"
            return [Check("storage", "broken", f"{path} would be on a network file system ({kind})", fix)]
        return [Check("storage", "ok", f"{path} does not exist yet", "drivebeat create STUDY.toml creates it")]
    began = time.perf_counter()
    if fixing:
        storage, engine = open_storage(url), open_engine(url)
    else:
        opened = open_readable(url)
        storage, engine = opened.storage, opened.engine
    with engine.begin() as connection:
        skew_s = database_time(connection) - time.time()
    seconds = time.perf_counter() - began
    records, problems = readable_records(storage)
    n_ours = len(records) + len(problems)
    n_others = len(storage.get_all_studies()) - n_ours
    counted = f"{n_ours} {'study' if n_ours == 1 else 'studies'}"
    if n_others:
        counted += f" and {n_others} of other programs"
    found = f"{masked(url)}: {counted}, tables of version {SCHEMA_VERSION}, opened in {seconds:.1f} s"
    checks = [Check("storage", "ok", found)]
    if {"alembic_version", "experiments", "registered_models"} <= set(inspect(engine).get_table_names()):
        fix = "give MLflow a separate database; both keep the version of their tables in alembic_version"
        checks.append(Check("storage", "warning", "MLflow's tables are in the database of the studies", fix))
    checks += _agreement(storage, engine, fixing)
    engine.dispose()
    if abs(skew_s) > MAX_SKEW_S:
        fix = "set this machine's clock by NTP (timedatectl set-ntp true), or the clock of the database"
        checks.append(Check("clock", "warning", f"the database's clock is {skew_s:+.0f} s from this machine's", fix))
    else:
        checks.append(Check("clock", "ok", f"within {MAX_SKEW_S:g} s of the database's clock"))
    return checks


def _agreement(storage: BaseStorage, engine: Engine, fixing: bool) -> list[Check]:
    """Check that Optuna's tables and ours agree on every study and trial; fix what they disagree on if `fixing`."""
    checks = []
    for found in disagreements(storage, engine):
        if fixing and found.repair is not None:
            found.repair()
            checks.append(Check("studies", "ok", f"{found.found}: fixed ({found.fix})"))
        else:
            how = f"drivebeat doctor --fix: {found.fix}" if found.repair is not None else found.fix
            checks.append(Check("studies", "warning", found.found, how))
    checks = checks or [Check("studies", "ok", "Optuna's tables and Drivebeat's agree")]
    for name, numbers in foreign_running(storage, engine).items():
        listed = f"{'trial' if len(numbers) == 1 else 'trials'} {', '.join(map(str, numbers))}"
        how = f"if that program has ended: {shell_command('cancel', name, str(numbers[0]))}"
        checks.append(Check("studies", "ok", f"study {name}: {listed} of another program running", how))
    return checks


def _artifacts(artifacts: str) -> Check:
    if "://" not in artifacts and not Path(artifacts).exists():
        return Check("artifacts", "ok", f"{artifacts} does not exist yet; the first worker creates it")
    open_artifacts(artifacts)
    if "://" not in artifacts and not os.access(artifacts, os.W_OK):
        return Check(
            "artifacts", "broken", f"{artifacts} cannot be written", f"chown or chmod {artifacts}, or use --artifacts"
        )
    return Check("artifacts", "ok", artifacts)


def _disks(url: str, artifacts: str) -> list[Check]:
    folders = {"disk": Path(), "disk of artifacts": Path(artifacts) if "://" not in artifacts else Path()}
    path = sqlite_file(url)
    folders["disk of the database"] = path.parent if path is not None else Path()
    checks, seen = [], set[int]()
    for name, folder in folders.items():
        existing = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
        if (device := existing.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(existing).free
        found = f"{free / GIB:.1f} GiB free at {existing}"
        fix = "delete artifacts of old studies or runs/, or use another disk by --artifacts"
        if free < ENOUGH_FREE:
            checks.append(Check(name, "broken" if free < MIN_FREE else "warning", found, fix))
        else:
            checks.append(Check(name, "ok", found))
    return checks


def _trackers(url: str) -> list[Check]:
    from training.trackers.build import tracking_of

    switches = read_switches()
    missing: list[str] = []
    tracking = tracking_of(switches, url, missing=missing.append)
    checks = [_broken("trackers", ValueError(line.removesuffix("; continuing without it"))) for line in missing]
    if not missing:
        checks.append(Check("trackers", "ok", f"in use: {', '.join(tracking.names) or 'none'}"))
    return checks


def _switches() -> list[Check]:
    switches = read_switches()
    where = f"to {len(switches.message_urls)} address(es)" if switches.message_urls else "to no address"
    checks = [Check("messages", "ok", where)]
    if switches.only_first_batch:
        fix = "unset ONLY_FIRST_BATCH (environment or .env) for a real search"
        checks.append(Check("training", "warning", "ONLY_FIRST_BATCH is on: one step an epoch", fix))
    return checks


def _recordings(name: str, url: str) -> list[Check]:
    if absent := absent_packages():
        return [Check("recordings", "ok", f"not read, for that needs {absent[0]}", f"to read them: {INSTALL}")]
    from search.study.spec import read_spec
    from search.study.study import load_studies

    if name.endswith(".toml"):
        config, wanted = read_spec(Path(name)).data, None
    else:
        study = load_studies(name, open_readable(url).storage)[0]
        config, wanted = study.spec.data, study.fingerprint
    return _read(config, wanted)


def _read(config: "DataConfig", wanted: str | None) -> list[Check]:
    from data.corpus import load

    corpus = load(config)
    if wanted not in (None, corpus.fingerprint):
        fix = "restore the recordings, or create a study of another name on these"
        found = f"fingerprint {corpus.fingerprint}, but the study was created on {wanted}"
        return [Check("recordings", "broken", found, fix)]
    found = f"readable, {corpus.n_channels} channel(s), fingerprint {corpus.fingerprint}"
    return [Check("recordings", "ok", text) for text in (found, *corpus.notes)]


def checks_table(checks: Sequence[Check]) -> Table:
    """Return a table with a line for each check and a line for its fix, 80 columns wide at most."""
    table = Table.grid(padding=(0, 2))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        state = Text(check.state, style=STYLES[check.state])
        table.add_row(check.name, state, Text(check.found))
        if check.fix:
            table.add_row("", "", Text(f"-> {check.fix}", style="" if check.state == "ok" else "bold"))
    return table


def checks_document(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the checks as plain values for JSON."""
    return {
        "ok": not any(check.state == "broken" for check in checks),
        "checks": [asdict(check) for check in checks],
    }
