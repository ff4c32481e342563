"""Measure changes that may speed up a training step, each against the unchanged step of the same model."""

import dataclasses
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Literal

import torch
from torch import nn

from benchmarks.profile.step import Stage, build_stage, clock, run_named
from data.mixing.mixture import Batch

Act = Callable[[], None]
OWN_CLOCK = ("before", "plain AdamW", "foreach AdamW", "bf16", "channels_last", "compile")
BY_THE_CLOCK = ("2 threads", "data beside", "2 processes")
LEVERS = (*OWN_CLOCK, *BY_THE_CLOCK)
"""before: what the trainer did until 23 November 2026: AdamW without fused kernels, new memory filled with NaN.
2 threads against 1. data beside: the next batch made by a second thread during the step. 2 processes: of one thread
each, against one process of two threads, for the same number of steps in all."""

Precision = Literal["fp32", "tf32", "bf16", "fp16"]


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One model's step: `name` of profile_step.run_named, and at what size. n_steps are taken in each turn."""

    name: str
    batch_size: int
    window_samples: int
    n_steps: int
    rounds: int

    def stage(self, device: torch.device, threads: int = 1, precision: Precision = "fp32") -> Stage:
        run = run_named(self.name, self.batch_size, threads, self.window_samples)
        return build_stage(dataclasses.replace(run, fit=dataclasses.replace(run.fit, precision=precision)), device)


def levers(question: Question, names: Sequence[str], device: torch.device, threads: int) -> dict[str, float | str]:
    """How many times as fast each of `names` makes the step: the median over rounds of the ratio within a round.

    A lever that does not apply to this model or machine gives a line that says why.
    """
    found: dict[str, float | str] = {}
    acts: dict[str, Act] = {}
    plain = question.stage(device, threads)
    for name in names:
        if name in OWN_CLOCK:
            try:
                acts[name] = _pulled(name, question, device, threads)
            except _NotHere as reason:
                found[name] = str(reason)
    if acts:
        acts = {"": lambda: plain.steps(question.n_steps), **acts}
        found |= ratios(acts, question.rounds, clock(device, threads))
    if device.type == "cpu":
        for name in names:
            if name in BY_THE_CLOCK:
                found[name] = _by_the_clock(name, question)
    return found


def ratios(acts: dict[str, Act], rounds: int, now: Callable[[], float]) -> dict[str, float]:
    """Seconds of the act "" over those of each other act, medians over rounds; a first round warms up."""
    spent: dict[str, list[float]] = {name: [] for name in acts}
    for turn in range(rounds + 1):
        for name, act in acts.items():
            began = now()
            act()
            if turn:
                spent[name].append(now() - began)
    return {
        name: statistics.median(base / other for base, other in zip(spent[""], spent[name], strict=True))
        for name in acts
        if name
    }


class _NotHere(Exception):
    """The lever has nothing to move; the message says why."""


def _pulled(name: str, question: Question, device: torch.device, threads: int) -> Act:
    """Steps with the lever pulled."""
    stage = question.stage(device, threads, "bf16" if name == "bf16" else "fp32")
    if name in ("before", "plain AdamW", "foreach AdamW"):
        if stage.learner.optimiser is None:
            raise _NotHere("nothing to train")
        optimiser = _other_kernels(stage, foreach=name == "foreach AdamW")
        learner = dataclasses.replace(stage.learner, optimiser=optimiser)
        stage = dataclasses.replace(stage, learner=learner, filled=name == "before")
    elif name == "channels_last":
        images = [part for part in stage.learner.model.modules() if isinstance(part, nn.Conv2d)]
        if not images:
            raise _NotHere("no image")
        for part in images:
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    elif name == "compile":
        try:
            stage.learner.model.compile()
            stage.steps(2)
        except Exception as error:  # whatever keeps torch's compiler from its work is the finding
            raise _NotHere(f"does not compile ({type(error).__name__})") from error
    return lambda: stage.steps(question.n_steps)


def _other_kernels(stage: Stage, foreach: bool) -> torch.optim.Optimizer:
    of = [p for p in stage.learner.model.parameters() if p.requires_grad]
    decay = stage.run.optimiser.weight_decay
    return torch.optim.AdamW(of, weight_decay=decay, fused=False, foreach=foreach or None)


def _by_the_clock(name: str, question: Question) -> float:
    """These move what one thread's own seconds do not show; a busy machine blurs them."""
    device = torch.device("cpu")
    n, now = question.n_steps, time.perf_counter
    if name == "2 threads":
        one, two = question.stage(device, 1), question.stage(device, 2)
        return ratios({"": lambda: one.steps(n), name: lambda: two.steps(n)}, question.rounds, now)[name]
    if name == "data beside":
        plain, beside = question.stage(device), question.stage(device)
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as thread:
            ahead = _ahead(beside.batches, thread)
            acts: dict[str, Act] = {"": lambda: plain.steps(n), name: lambda: beside.steps(n, ahead)}
            return ratios(acts, question.rounds, now)[name]
    together = question.stage(device, 2)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        acts = {
            "": lambda: together.steps(2 * n),
            name: lambda: deque(pool.map(_steps_of, [question] * 2), 0).clear(),
        }
        return ratios(acts, question.rounds, now)[name]


def _ahead(batches: Iterator[Batch], thread: ThreadPoolExecutor) -> Iterator[Batch]:
    """The same batches, the next one always under way."""
    under_way = thread.submit(next, batches)
    while True:
        batch = under_way.result()
        under_way = thread.submit(next, batches)
        yield batch


def _steps_of(question: Question) -> None:
    _kept_stage(question).steps(question.n_steps)


@cache
def _kept_stage(question: Question) -> Stage:
    """In a process of its own: built once, for the turns that follow."""
    return question.stage(torch.device("cpu"))
