"""Plot the results of benchmarks.search: distance of the best value so far from the best known, against compute."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.search.summary import NEAR_DB, Outcomes
from training.evaluation.showcase import save

SHOWN = {
    "grid, unpruned": "#8a8f98",
    "random, unpruned": "#b8a05a",
    "Optuna TPE, unpruned": "#6a8fc8",
    "Optuna defaults": "#1d4ed8",
    "Ray Tune ASHA + Optuna": "#7e22ce",
    "Drivebeat defaults": "#c2410c",
}
TRAININGS = np.geomspace(1.0, 200.0, 160)


def draw(curves: Mapping[tuple[str, int, str], Outcomes], best: Mapping[str, float], path: Path) -> None:
    """Median and quartiles over seeds of the regret in dB; a row a table, a column a number of workers.

    curves: (table, workers, method) -> replays; best: table -> best known value.
    """
    tables, workers = sorted({key[0] for key in curves}), sorted({key[1] for key in curves})
    figure = Figure(figsize=(4.6 * len(workers), 3.6 * len(tables)), layout="constrained")
    axes = figure.subplots(len(tables), len(workers), squeeze=False, sharex=True, sharey="row")
    for row, table in enumerate(tables):
        for column, n_workers in enumerate(workers):
            axis = axes[row][column]
            for method, colour in SHOWN.items():
                found = curves.get((table, n_workers, method))
                if found is None:
                    continue
                regret = np.array([best[table] - found.best_at(n, "compute") for n in TRAININGS])
                # far beyond the axis where nothing is complete yet
                regret = np.minimum(regret, 1e3)
                low, middle, high = np.percentile(regret, [25, 50, 75], axis=1, method="closest_observation")
                axis.plot(TRAININGS, middle, color=colour, label=method, linewidth=1.6)
                axis.fill_between(TRAININGS, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.axhline(NEAR_DB, color="#444", linewidth=0.7, linestyle=":")
            axis.set_xscale("log")
            axis.set_ylim(0, 2.5)
            axis.set_title(f"{table}, {n_workers} worker{'s' if n_workers > 1 else ''}", fontsize=9)
            axis.set_xlabel("compute, trainings to the end")
    for row in range(len(tables)):
        axes[row][0].set_ylabel("behind the best known, dB")
    axes[0][-1].legend(fontsize=7, loc="upper right")
    save(figure, path)
