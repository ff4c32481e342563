"""Run every benchmark in a reduced form and write one page: `python -m benchmarks.run_all [-o FOLDER]`.

Each is the benchmark's own script in a process of its own, with fewer seeds, rounds or trials than docs/ was measured
with: ratios still say something, absolute figures are this machine's and this moment's. All together take less than a
quarter of an hour on two cores. FOLDER gets run_all.md and run_all.html. What fails, misses something (PostgreSQL,
recordings) or is not done in its minutes is a line on the page that says so; the exit code is 0 all the same.
"""

import argparse
import contextlib
import html
import os
import platform
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from data.files import atomic

ROOT = Path(__file__).parents[1]
END_S = 20.0  # to stop servers and workers in order, before the process group is killed
SHOWN_LINES = 120


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`module` of this folder with its reduced arguments; {out} stands for an empty folder. needs: a path relative to
    the checkout without which there is nothing to measure. quick: arguments of its quickest form."""

    name: str
    title: str
    module: str
    arguments: str
    minutes: float
    quick: str = "--quick"
    needs: str = ""


BENCHMARKS = (
    Benchmark("startup", "Start-up and prepared recordings", "startup", "--files 8 --rounds 1", 2),
    Benchmark("data_path", "Windows a second", "data_path", "--threads 1", 1, "--quick --threads 1"),
    Benchmark(
        "profile_training",
        "A training step",
        "profile",
        "--families autoencoder,wave_unet,conformer --levers before,bf16 --rounds 3",
        1,
        "--quick --families autoencoder --levers before",
    ),
    Benchmark(
        "storage_sqlite",
        "What a storage costs, SQLite",
        "storage",
        "--database sqlite --only cpu --only first --minutes 0.8",
        1.5,
    ),
    Benchmark(
        "storage_postgresql",
        "What a storage costs, PostgreSQL",
        "storage",
        "--database postgresql --only cpu --only first --minutes 0.8",
        1.5,
    ),
    Benchmark("scaling", "What a search costs its database", "scaling", "--quick --database sqlite", 1),
    Benchmark(
        "search",
        "Ways to search",
        "search",
        "--seeds 3 --workers 4 -o {out} --methods 'grid, unpruned;Optuna defaults;Drivebeat defaults'",
        2,
    ),
    Benchmark("dashboard", "The dashboard beside the stock one", "dashboard", "--trials 500", 2),
    Benchmark("chaos", "The promises of the search", "chaos", "--quick --only exactly_n --database sqlite", 1),
    Benchmark(
        "quality",
        "Classical rows, and models of two seconds that only show that the comparison runs",
        "quality",
        "--quick -o {out}",
        1,
        "--quick -o {out}",
        needs="../shared/realdata",
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark printed, or in `failed` the line that says why it did not."""

    benchmark: Benchmark
    command: str
    seconds: float
    text: str
    failed: str = ""


def perform(benchmark: Benchmark, *, quick: bool = False) -> Result:
    """Run one benchmark to its end, or to the end of its minutes; nothing that it started is left."""
    words = shlex.split(benchmark.quick if quick else benchmark.arguments)
    command = shlex.join(["python", "-m", f"benchmarks.{benchmark.module}", *words]).replace("'{out}'", "FOLDER")
    if benchmark.needs and not (ROOT / benchmark.needs).exists():
        return Result(benchmark, command, 0.0, "", f"not run: there is no {benchmark.needs} beside the checkout")
    with tempfile.TemporaryDirectory(prefix="drivebeat-all-") as folder:
        program = [sys.executable, "-m", f"benchmarks.{benchmark.module}"]
        began = time.monotonic()
        files = [Path(folder, name) for name in ("out", "err")]
        with files[0].open("w") as out, files[1].open("w") as err:
            process = subprocess.Popen(
                [*program, *(word.replace("{out}", f"{folder}/results") for word in words)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            late = _wait(process, 60 * benchmark.minutes)
        seconds = time.monotonic() - began
        texts = [_clean(file.read_text(encoding="utf-8", errors="replace"), folder) for file in files]
    failed = ""
    if late:
        failed = f"not done within {benchmark.minutes:g} minutes"
    elif process.returncode:
        said = [line for line in (texts[1] or texts[0]).splitlines() if line.strip()]
        failed = f"failed: {said[-1].strip() if said else f'exit code {process.returncode}'}"
    return Result(benchmark, command, seconds, texts[0], failed)


def _wait(process: "subprocess.Popen[bytes]", limit_s: float) -> bool:
    """Whether it was stopped for being late; whatever it started goes with it."""
    late = False
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        late = True
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    finally:
        with contextlib.suppress(ProcessLookupError):  # all of them have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return late


def _clean(text: str, folder: str) -> str:
    """Without the names of this machine and its folders."""
    for path, shown in ((folder, "FOLDER"), (str(ROOT), "."), (str(Path.home()), "~")):
        text = text.replace(path, shown) if len(path) > 1 else text
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/\S+", "FOLDER", text)
    text = re.sub(rf"(?<![\w-]){re.escape(socket.gethostname())}(?![\w-])", "HOST", text)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def page(results: Sequence[Result]) -> str:
    """The page as Markdown."""
    parts = ["# Benchmarks, reduced", "", *machine(), ""]
    for result in results:
        parts += [f"## {result.benchmark.title}", "", f"`{result.command}`, {result.seconds:.0f} s", ""]
        if result.failed:
            parts += [result.failed, ""]
        if lines := result.text.rstrip().splitlines()[-SHOWN_LINES:]:
            is_markdown = any(line.startswith(("|---", "| ---")) for line in lines)
            parts += [*lines, ""] if is_markdown else ["```text", *lines, "```", ""]
    return "\n".join(parts)


def machine() -> Iterator[str]:
    """What the figures were measured on; no name of a host and no path."""
    yield f"- {datetime.now(UTC):%Y-%m-%d}, load before: {os.getloadavg()[0]:.1f}"
    yield f"- {_processor()}, {len(os.sched_getaffinity(0))} core(s)"
    yield f"- Python {platform.python_version()}, torch {torch.__version__}"
    if torch.cuda.is_available():
        yield f"- {torch.cuda.get_device_name()}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def html_page(markdown: str) -> str:
    """The same text for a browser, as it stands."""
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Drivebeat: benchmarks, reduced</title>\n'
        f'<body><pre style="white-space: pre-wrap">{html.escape(markdown)}</pre></body></html>\n'
    )


def main(arguments: Sequence[str] | None = None, benchmarks: Sequence[Benchmark] = BENCHMARKS) -> int:
    """Run the benchmarks and write the page, again after each, so that one broken off keeps what it has."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmarks"), metavar="FOLDER")
    parser.add_argument("--only", action="append", choices=[b.name for b in benchmarks], help="may be given again")
    parser.add_argument("--quick", action="store_true", help="each in its quickest form; the figures mean nothing")
    options = parser.parse_args(arguments)
    # Started in a script's background it would ignore this signal, and so would the benchmarks that it stops by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options.output.mkdir(parents=True, exist_ok=True)
    results = []
    for benchmark in benchmarks:
        if options.only and benchmark.name not in options.only:
            continue
        results.append(perform(benchmark, quick=options.quick))
        print(f"{benchmark.name}: {results[-1].failed or 'done'}, {results[-1].seconds:.0f} s", flush=True)
        markdown = page(results)
        for name, text in (("run_all.md", markdown), ("run_all.html", html_page(markdown))):
            with atomic(options.output / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    print(f"{options.output / 'run_all.md'} and run_all.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
