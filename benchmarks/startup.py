"""Measure the time before the first training step: start of commands, loading of recordings, start of a worker.

    python -m benchmarks.startup [--files N] [--rounds N] [--quick]

Recordings are generated: a minute, four channels and an ECG each, at 1 kHz, brought to 250 Hz and 25-55 Hz. They
are loaded as every worker, trial and command loads them, with and without the cache of prepared recordings, each time
in a process of its own; and `drivebeat work` is followed from its start to just before its first training step. The
contenders take turns and medians are compared. CPU seconds are those of the process; on a busy machine they say more
than the clock's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.cache import SETTLED_S
from data.readers.arrays.npz import write_npz
from data.recording import Recording
from tests.support.program import ROOT, command, environment

RATE_HZ = 1000.0

LOAD = """
import resource, sys, time
from data.config import DataConfig, Source
from data.corpus import load
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()
folder = sys.argv[1]
channels = ("ch1", "ch2", "ch3", "ch4")
config = DataConfig(
    clean=(Source((f"{folder}/clean*.npz",), channels),), noise=(Source((f"{folder}/noise*.npz",), channels),),
    rate_hz=250.0, window_samples=1280,
)
began = spent()
corpus = load(config)
ended = spent()
print(ended[0] - began[0], ended[1] - began[1], corpus.fingerprint)
"""

# As `drivebeat work`, but the first training step ends it: on a copy of the database, where no other died before.
WORK = """
import os, resource, shutil, sys, time
began = time.perf_counter()
import search.worker.trial as trial
from search.artifacts.open import open_artifacts
from search.worker.worker import work
first = trial.train
def stop(*_):
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, time.perf_counter() - began, "-", flush=True)
    os._exit(0)
trial.train = lambda *parts, check_stop, **more: first(*parts, check_stop=stop, **more)
copy = f"{sys.argv[1]}/copy{os.getpid()}.db"
shutil.copy(sys.argv[1] + "/studies.db", copy)
def log(line):
    print(line, file=sys.stderr)
work(["startup"], "sqlite:///" + copy, open_artifacts(sys.argv[1] + "/artifacts"), threads=1, log=log)
"""

STUDY = """
name = "startup"
models = ["autoencoder"]
search = ["learning_rate"]
epochs = 1
[budget]
trials = 1000
[data]
rate_hz = 250.0
window_samples = 1280
[[data.clean]]
files = ["{folder}/clean*.npz"]
channels = ["ch1", "ch2", "ch3", "ch4"]
[[data.noise]]
files = ["{folder}/noise*.npz"]
channels = ["ch1", "ch2", "ch3", "ch4"]
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """files: how many recordings. minutes: the length of each. rounds: turns of every contender."""

    files: int
    minutes: float
    rounds: int


FULL = Plan(files=120, minutes=1, rounds=3)
QUICK = Plan(files=6, minutes=0.5, rounds=1)


@dataclass(frozen=True, slots=True)
class Spent:
    cpu_s: float
    wall_s: float
    said: str


def main(arguments: Sequence[str]) -> None:
    """Measure, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures mean nothing")
    parser.add_argument("--files", type=int, help=f"recordings; default {FULL.files}")
    parser.add_argument("--rounds", type=int, help=f"turns of every contender; default {FULL.rounds}")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    plan = replace(plan, files=options.files or plan.files, rounds=options.rounds or plan.rounds)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        print(f"{plan.files} recordings of {plan.minutes:g} min, 5 rows at {RATE_HZ:g} Hz; median of {plan.rounds}")
        generate(site, plan)
        url = f"sqlite:///{site}/studies.db"
        (site / "startup.toml").write_text(STUDY.format(folder=site), encoding="utf-8")
        run(command("create", str(site / "startup.toml"), "--storage", url), {})
        tell("commands", commands(url, plan))
        tell("loading the recordings", cached_or_not([sys.executable, "-c", LOAD, folder], site, plan))
        tell("a worker, to its first step", cached_or_not([sys.executable, "-c", WORK, folder], site, plan))


def generate(folder: Path, plan: Plan) -> None:
    """Recordings of white noise with an ECG of spikes: what is in them costs the same as a heart would."""
    n_samples = round(60 * plan.minutes * RATE_HZ)
    for i in range(plan.files):
        rng = np.random.default_rng(i)
        signals = rng.standard_normal((4, n_samples), dtype=np.float32)
        ecg = 0.02 * rng.standard_normal(n_samples, dtype=np.float32)
        ecg[400::850] += 1
        path = folder / f"{'clean' if i % 2 else 'noise'}{i:03d}.npz"
        names = ("ch1", "ch2", "ch3", "ch4")
        write_npz(Recording(signals, RATE_HZ, names, path, ecg=ecg, ecg_rate_hz=RATE_HZ), path)


def commands(url: str, plan: Plan) -> dict[str, list[Spent]]:
    """Empty Python, then commands that train nothing."""
    ways = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "drivebeat --help": command("--help"),
        "drivebeat show": command("show", "--storage", url),
    }
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    for _ in range(plan.rounds):
        for name, words in ways.items():
            spent[name].append(run(words, {}))
    return spent


def cached_or_not(words: Sequence[str], folder: Path, plan: Plan) -> dict[str, list[Spent]]:
    """The command without a cache, with an empty one, and with a filled one; it reports its own seconds."""
    spent: dict[str, list[Spent]] = {"no cache": [], "empty cache": [], "filled cache": []}
    run(words, {"DRIVEBEAT_CACHE": str(folder / "cache")})
    time.sleep(SETTLED_S)
    run(words, {"DRIVEBEAT_CACHE": str(folder / "cache")})  # by now the files' digests are worth remembering
    for _ in range(plan.rounds):
        empty = tempfile.mkdtemp(dir=folder)
        for name, cache in (("no cache", ""), ("empty cache", empty), ("filled cache", str(folder / "cache"))):
            said = run(words, {"DRIVEBEAT_CACHE": cache}).said.split()
            spent[name].append(Spent(float(said[-3]), float(said[-2]), said[-1]))
        if len({took[-1].said for took in spent.values()}) != 1:
            raise SystemExit("the cache changed the fingerprint")
    return spent


def run(words: Sequence[str], more: Mapping[str, str]) -> Spent:
    """Run to the end; CPU and wall seconds from outside, and what was said."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            stdout=output,
            cwd=ROOT,
            env=environment(**{"OMP_NUM_THREADS": "1", "DRIVEBEAT_CACHE": "", **more}),
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - began
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(words)[:200]}: exit code {process.returncode}")
        output.seek(0)
        return Spent(used.ru_utime + used.ru_stime, wall_s, output.read().decode())


def tell(title: str, spent: Mapping[str, Sequence[Spent]]) -> None:
    """A table: medians, and CPU seconds as a multiple of the first row's."""
    print(f"\n{title:30s}{'CPU s':>9s}{'wall s':>9s}{'CPU':>9s}")
    first = statistics.median(took.cpu_s for took in next(iter(spent.values())))
    for name, runs in spent.items():
        cpu_s, wall_s = (statistics.median(values) for values in zip(*((r.cpu_s, r.wall_s) for r in runs), strict=True))
        print(f"{name:30s}{cpu_s:9.3f}{wall_s:9.2f}{cpu_s / first:8.2f}x", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
