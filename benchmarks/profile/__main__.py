"""Profile a training step of each model family, and compare it with the machine's peak performance.

    python -m benchmarks.profile [--families A,B] [--levers A,B] [--threads 1] [--steps N] [--quick]

Every family at its defaults and the best config known, on generated signals: three channels at 250 Hz, windows of
1,280 samples, SI-SDR, a moving average of weights. A step is the trainer's own. GFLOP are what torch counts in
products, convolutions and attention, forwards and backwards; the peak is that of an fp32 product of square matrices,
timed by turns with the steps. On one CPU thread times are the processor's, for other work disturbs them least.
A lever is set against the same model's plain step, by turns: medians of the ratios within a round, above 1 is quicker.

Named unlike Python's own `profile`, which a script beside it would otherwise hide from the standard library.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from benchmarks.profile.levers import LEVERS, Question, levers
from benchmarks.profile.step import (
    BEST,
    PARTS,
    PEAK_SIDE,
    build_stage,
    dearest,
    peak_seconds,
    run_named,
    step_gflop,
)
from models import DENOISERS


@dataclass(frozen=True, slots=True)
class Profile:
    """One model's step: `parts_ms` of PARTS, its operations, those a second, the share of the peak that is."""

    name: str
    parts_ms: tuple[float, ...]
    gflop: float
    gflop_per_s: float
    peak_share: float
    dearest: list[tuple[str, float]]


def profile_of(question: Question, device: torch.device, threads: int) -> Profile:
    """Time question.rounds steps and as many products of matrices, by turns, after one of each to warm up."""
    stage = build_stage(run_named(question.name, question.batch_size, threads, question.window_samples), device)
    gflop = step_gflop(stage)
    spent, shares = [], []
    for turn in range(question.rounds + 1):
        parts = stage.timed_step()
        product_s = peak_seconds(device, threads)
        if turn:
            spent.append(parts)
            shares.append((gflop / sum(parts)) / (2 * PEAK_SIDE**3 / 1e9 / product_s))
    parts_s = tuple(statistics.median(column) for column in zip(*spent, strict=True))
    return Profile(
        question.name,
        tuple(1e3 * part for part in parts_s),
        gflop,
        gflop / statistics.median(sum(parts) for parts in spent),
        statistics.median(shares),
        dearest(stage),
    )


def step_table(profiles: Sequence[Profile]) -> Iterator[str]:
    """Markdown, a line for each model."""
    yield f"| model | step ms | {' | '.join(PARTS)} | GFLOP | GFLOP/s | of the peak | dearest operators |"
    yield "|" + "---|" * (len(PARTS) + 6)
    for p in profiles:
        parts = " | ".join(f"{part:.1f}" for part in p.parts_ms)
        most = ", ".join(f"{name} {100 * share:.0f} %" for name, share in p.dearest)
        yield (
            f"| {p.name} | {sum(p.parts_ms):.0f} | {parts} | {p.gflop:.2f} | {p.gflop_per_s:.0f} "
            f"| {100 * p.peak_share:.0f} % | {most} |"
        )


def lever_table(found: dict[str, dict[str, float | str]], names: Sequence[str]) -> Iterator[str]:
    """Markdown: how many times as fast each lever makes each model; last the medians over the models."""
    yield f"| model | {' | '.join(names)} |"
    yield "|" + "---|" * (1 + len(names))
    for model, of in found.items():
        yield f"| {model} | {' | '.join(_cell(of.get(name, '-')) for name in names)} |"
    middles = []
    for name in names:
        known = [value for of in found.values() if isinstance(value := of.get(name), float)]
        middles.append(_cell(statistics.median(known)) if known else "-")
    yield f"| median | {' | '.join(middles)} |"


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def _listed(text: str, known: Sequence[str], what: str, parser: argparse.ArgumentParser) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            parser.error(f"unknown {what} {name!r}; known: {', '.join(known)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print two tables for each device."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    models = [*(name for name in DENOISERS if name != "identity"), BEST]  # identity has nothing to train
    parser.add_argument(
        "--families", default=",".join(models), help="comma-separated; default: all, and the best known"
    )
    parser.add_argument("--levers", default=",".join(LEVERS), help='comma-separated, "" for none; default: all')
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; default 1, what a worker beside others has"
    )
    parser.add_argument("--steps", type=int, default=2, help="steps a lever takes in each turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures mean nothing")
    options = parser.parse_args(arguments)
    chosen = _listed(options.families, models, "family", parser)
    pulled = _listed(options.levers, LEVERS, "lever", parser)
    batch, window, steps, rounds = (
        (2, 128, 1, 1) if options.quick else (options.batch, 1280, options.steps, options.rounds)
    )
    if min(batch, steps, rounds, options.threads) < 1:
        parser.error("--batch, --steps, --rounds and --threads are counts from 1 up")
    questions = [Question(name, batch, window, steps, rounds) for name in chosen]
    for kind in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        device = torch.device(kind)
        print(
            f"{kind}: batch {batch}, window {window} samples, 3 channels, {options.threads} CPU thread(s), "
            f"median of {rounds} rounds\n"
        )
        profiles, found = [], {}
        for question in questions:
            profiles.append(profile_of(question, device, options.threads))
            if pulled:
                found[question.name] = levers(question, pulled, device, options.threads)
            print(f"{question.name} done", file=sys.stderr, flush=True)
        print("\n".join(step_table(profiles)))
        if pulled:
            print("\nTimes as fast as the plain step:\n")
            print("\n".join(lever_table(found, pulled)))
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
