"""Compare denoisers on the same recordings, with the same seconds of one CPU thread and several seeds.

    python -m benchmarks.families RUN.yaml ... [--families a,b | all] [--seconds 90] [--seeds 3] [--processes 2] -o OUT

Each RUN.yaml is a run's document; --families puts other families, at their defaults, into its place. A run first
finds out what a step and a validation cost, then takes as many steps as fit into the seconds, so that its learning
rate comes down to its end. Best weights are chosen on validation, and scored on the test mixture. One line of JSON per
run goes to OUT/runs.jsonl; runs found there are not repeated. Then a table: mean and spread (largest less smallest)
over the seeds, beside the classical rows.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data.corpus import Corpus, load
from data.mixing.mixture import held_out
from models import DENOISERS
from models.classical import CLASSICAL
from objectives.cost import n_parameters
from training.checkpoint import load_weights
from training.config import RunConfig, read_run
from training.device import arithmetic, resolve_device
from training.errors import TrainingFailed
from training.evaluation.estimate import estimate_held_out
from training.evaluation.scores import classical_rows, score_rows
from training.trainer import WEIGHTS, train

SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm")
EPOCHS = 6
FEW, MANY = 3, 18
FLOORS = ("identity",)
# Strides and halvings of the defaults are for 1 kHz; at 250 Hz they would leave a few steps a second.
AT_250_HZ: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "conv_transformer": {"halvings": 2},
        "tcn_mask": {"stride": 4},
        "s4d": {"stride": 4},
        "canceller": {"stride": 4},
    }
)


@dataclass(frozen=True, slots=True)
class Job:
    """One training: `label` names the document, `family` the denoiser."""

    label: str
    family: str
    seed: int
    run: RunConfig
    seconds: float

    @property
    def key(self) -> str:
        """Return the key of this job, unique in one comparison."""
        return f"{self.label}/{self.family}/{self.seed}/{self.seconds:g}"


def plan(paths: Sequence[Path], families: Sequence[str], seconds: float, n_seeds: int) -> list[Job]:
    """All jobs, seeds outermost, so that a comparison cut short still compares."""
    jobs = []
    for seed in range(n_seeds):
        for path in paths:
            run = read_run(path)
            fit = dataclasses.replace(run.fit, seed=seed, threads=1, device="cpu")
            for family in families or [run.model.name]:
                default = DENOISERS[family](**(AT_250_HZ.get(family, {}) if run.data.rate_hz <= 250 else {}))
                model = run.model if family == run.model.name else default
                jobs.append(Job(path.stem, family, seed, dataclasses.replace(run, model=model, fit=fit), seconds))
    return jobs


def with_budget(run: RunConfig, seconds: float, corpus: Corpus, epochs: int = EPOCHS) -> RunConfig:
    """`run` with as many steps, in `epochs`, as that many seconds of one thread hold."""
    _cpu_s(run, corpus, 1)  # what a process pays once
    short, long = (_cpu_s(run, corpus, n_steps) for n_steps in (FEW, MANY))
    step_s = max(1e-4, (long - short) / (MANY - FEW))
    validation_s = max(0.0, short - FEW * step_s)
    n_steps = max(1, int((seconds - epochs * validation_s) / step_s / epochs))
    fit = dataclasses.replace(run.fit, epochs=epochs, steps_per_epoch=n_steps, patience=None)
    return dataclasses.replace(run, fit=fit)


def _cpu_s(run: RunConfig, corpus: Corpus, n_steps: int) -> float:
    fit = dataclasses.replace(run.fit, epochs=1, steps_per_epoch=n_steps)
    with tempfile.TemporaryDirectory() as folder:
        reports = train(dataclasses.replace(run, fit=fit), corpus, Path(folder))
        began = time.process_time()
        for _ in reports:
            pass
        return time.process_time() - began


def perform(job: Job) -> dict[str, object]:
    """Train and score one job; what came of it."""
    corpus = load(job.run.data)
    run = with_budget(job.run, job.seconds, corpus)
    result: dict[str, object] = {"key": job.key, "label": job.label, "family": job.family, "seed": job.seed}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.process_time()
        try:
            reports = list(train(run, corpus, folder))
        except TrainingFailed as error:
            return result | {"failed": str(error)}
        result["cpu_s"] = round(time.process_time() - began, 1)
        device = resolve_device("cpu")
        with arithmetic(run.fit.seed, device, 1):
            model = run.build_model(corpus.n_channels)
            load_weights(model, folder / WEIGHTS)
            mixture = held_out(corpus.splits["test"], run.data, run.data.test)
            estimates = estimate_held_out(model, mixture, device, run.fit.batch_size)
    rows = score_rows({job.family: estimates}, mixture, SCORES)
    return result | {
        "n_parameters": n_parameters(model),
        "steps": (run.fit.steps_per_epoch or 0) * EPOCHS,
        "validation": reports[-1].best_score,
        "scores": {f"{row.snr_db:+g}": dict(row.scores) for row in rows},
    }


def classical(run: RunConfig) -> list[dict[str, object]]:
    """The classical rows on the test mixture of `run`, in the form of a result without spread."""
    mixture = held_out(load(run.data).splits["test"], run.data, run.data.test)
    rows = score_rows(classical_rows(mixture, run.data.band_hz), mixture, SCORES)
    return [
        {
            "label": "",
            "family": name,
            "scores": {f"{row.snr_db:+g}": dict(row.scores) for row in rows if row.method == name},
        }
        for name in CLASSICAL
    ]


def table(results: Iterable[dict[str, object]], by_label: bool) -> str:
    """A Markdown table: a line for each label and family, mean +- half the spread over its seeds."""
    groups: dict[tuple[str, str], list[dict[str, object]]] = {}
    for result in results:
        groups.setdefault((str(result["label"]), str(result["family"])), []).append(result)
    snrs = list(next(r["scores"] for g in groups.values() for r in g if "scores" in r))  # type: ignore[call-overload]
    lines = [
        f"| {'run | ' if by_label else ''}family | parameters | steps | SI-SDR dB at {' / '.join(snrs)} | event F1 "
        "| heart rate < 5 bpm |",
        "|" + "---|" * (7 if by_label else 6),
    ]
    for (label, family), group in groups.items():
        done = [r for r in group if "scores" in r]
        failed = len(group) - len(done)
        name = family + (f" ({failed} of {len(group)} failed)" if failed else "")
        first = f"| {label or '-'} | {name} |" if by_label else f"| {name} |"
        if not done:
            lines.append(f"{first} - | - | - | - | - |")
            continue
        size = f"{done[0]['n_parameters']:,}" if "n_parameters" in done[0] else "-"
        steps = f"{np.mean([int(str(r['steps'])) for r in done]):.0f}" if "steps" in done[0] else "-"
        cells = [_cell(done, snrs, score, digits) for score, digits in zip(SCORES, (1, 2, 2), strict=True)]
        lines.append(f"{first} {size} | {steps} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(done: Sequence[dict[str, object]], snrs: Sequence[str], score: str, digits: int) -> str:
    parts = []
    for snr in snrs:
        values = np.array([r["scores"][snr][score] for r in done])  # type: ignore[index]
        spread = f" ±{(values.max() - values.min()) / 2:.{digits}f}" if len(done) > 1 else ""
        parts.append(f"{values.mean():.{digits}f}{spread}")
    return " / ".join(parts)


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--families", default="", help='comma-separated, or "all"; left out, the document\'s own')
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(argv)
    known = [name for name in DENOISERS if name not in FLOORS]
    families = known if options.families == "all" else [f for f in options.families.split(",") if f]
    for family in families:
        if family not in DENOISERS:
            parser.error(f"unknown family {family!r}; known: {', '.join(DENOISERS)}")
    jobs = plan(options.runs, families, options.seconds, options.seeds)
    options.output.mkdir(parents=True, exist_ok=True)
    results_file = options.output / "runs.jsonl"
    wanted = {job.key for job in jobs}
    results = [r for r in _read(results_file) if r["key"] in wanted]
    done = {r["key"] for r in results}
    # Set before the processes start: torch reads it as it is imported.
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
        for result in pool.imap_unordered(perform, [job for job in jobs if job.key not in done]):
            with results_file.open("a") as file:
                file.write(json.dumps(result) + "\n")
            results.append(result)
            print(f"{result['key']}: {result.get('validation', result.get('failed'))}", file=sys.stderr, flush=True)
    order = {job.key: number for number, job in enumerate(jobs)}
    results.sort(key=lambda r: order[str(r["key"])])
    print(table([*classical(jobs[0].run), *results], by_label=len(options.runs) > 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
