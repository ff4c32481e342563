"""Plot the results of a suite: mean normalised regret against the epochs spent."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from benchmarks.search.plot import SHOWN
from benchmarks.search.suites.summary import Outcome
from training.evaluation.showcase import save

OTHERS = colormaps["tab10"].colors  # type: ignore[attr-defined]
LEAST = 0.005


def draw_suite(outcomes: Mapping[int, Outcome], n_full: int, path: Path) -> None:
    """Mean over tasks and seeds, and quartiles of the tasks; a column a number of workers.

    outcomes: workers -> regrets at every epoch. n_full: epochs of a training, where a dotted line stands.
    """
    figure = Figure(figsize=(5.2 * len(outcomes), 4.0), layout="constrained")
    axes = figure.subplots(1, len(outcomes), squeeze=False, sharex=True, sharey=True)[0]
    for axis, (n_workers, outcome) in zip(axes, outcomes.items(), strict=True):
        for i, method in enumerate(outcome.methods):
            by_task = np.maximum(outcome.by_task[i], LEAST)
            colour = SHOWN.get(method, OTHERS[i % len(OTHERS)])
            low, high = np.percentile(by_task, [25, 75], axis=0)
            axis.plot(outcome.budgets, by_task.mean(axis=0), color=colour, label=method, linewidth=1.6)
            axis.fill_between(outcome.budgets, low, high, color=colour, alpha=0.1, linewidth=0)
        axis.axvline(n_full, color="#444", linewidth=0.7, linestyle=":")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(LEAST, 1.05)
        axis.set_title(f"{n_workers} worker{'s' if n_workers > 1 else ''}", fontsize=9)
        axis.set_xlabel("epochs of all trials")
    axes[0].set_ylabel("mean normalised regret")
    axes[0].legend(fontsize=7, loc="lower left")
    save(figure, path)
