"""Plots for the study page, as Plotly JSON (plotly.com/javascript/reference), made without the library.

Each plot has at most a few hundred points, whatever the study's size, for the page fetches it after every change.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from optuna.trial import FrozenTrial

from search.trials import SI_SDR_AT, WORKER, Fate, attributes_of, fate_of, pareto_front
from training.numbers import rounded

N_CURVES, N_POINTS, N_BARS = 40, 500, 300
COLOURS = {
    Fate.COMPLETE: "#1f7a5c",
    Fate.PRUNED: "#c2410c",
    Fate.INFEASIBLE: "#b8860b",
    Fate.FAILED: "#8a8f98",
    Fate.RUNNING: "#2563eb",
    Fate.WAITING: "#2563eb",
}
TRIAL_COLOURS = ("#1f7a5c", "#2563eb", "#c2410c", "#9333ea", "#b8860b")  # best first; readable on white and on black
CLASSICAL_COLOUR = "#8a8f98"
TEXT_COLOUR, GRID_COLOUR, TRANSPARENT = "#7c8594", "rgba(128,128,128,0.3)", "rgba(0,0,0,0)"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
LABELS = {"wiener": "wiener (noise known)", "oracle": "oracle mask (bound)"}
Plot = dict[str, Any]
Classical = Mapping[str, Mapping[str, float]]


def score_by_snr(best: Sequence[FrozenTrial], classical: Classical) -> Plot:
    """Plot the SI-SDR of the best trials and of classical methods against the SNR of the validation mixture.

    best: best first. classical: method -> SNR such as "-10" -> SI-SDR in dB.
    """
    lines: list[tuple[str, dict[str, Any], dict[str, Any], str]] = []
    for trial, colour in zip(best, TRIAL_COLOURS, strict=False):
        own = {k.removeprefix(SI_SDR_AT): v for k, v in attributes_of(trial).items() if k.startswith(SI_SDR_AT)}
        line = {"color": colour, "width": 1.5 if lines else 3}
        lines.append((f"trial {trial.number}", own, line, "circle"))
    for (name, by_snr), symbol in zip(classical.items(), cycle(SYMBOLS), strict=False):
        line = {"color": CLASSICAL_COLOUR, "width": 1, "dash": "dash" if name == "oracle" else "dot"}
        lines.append((LABELS.get(name, name), dict(by_snr), line, symbol))
    data = []
    for name, by_snr, line, symbol in lines:
        points = sorted((float(snr), value) for snr, value in by_snr.items() if math.isfinite(value))
        if points:
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": name,
                    "x": [x for x, _ in points],
                    "y": [y for _, y in points],
                    "line": line,
                    "marker": {"symbol": symbol, "size": 6},
                }
            )
    return _plot("Best trials beside the classical rows", "SNR of the mixture, dB", "SI-SDR, dB", data)


def learning_curves(trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial], metric: str) -> Plot:
    """Plot score against epoch for the best and the latest trials, with a cross where a trial was pruned.

    trials: all, by number. best: best first. metric: label of the y axis.
    """
    chosen = {t.number: t for t in best[: N_CURVES // 2]}
    latest = [t for t in reversed(trials) if t.intermediate_values][: N_CURVES - len(chosen)]
    chosen |= {t.number: t for t in latest}
    data = []
    for number, trial in sorted(chosen.items()):
        reports = sorted((e, v) for e, v in trial.intermediate_values.items() if math.isfinite(v))
        if not reports:
            continue
        fate = fate_of(trial)
        symbols = ["circle"] * (len(reports) - 1) + ["x" if fate == Fate.PRUNED else "circle"]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{number} {fate}",
                "x": [e + 1 for e, _ in reports],
                "y": [v for _, v in reports],
                "line": {"color": COLOURS[fate], "width": 1},
                "marker": {"symbol": symbols, "size": [3] * (len(reports) - 1) + [9 if fate == Fate.PRUNED else 5]},
                "showlegend": False,
            }
        )
    title = "Learning curves (green complete, orange pruned at the cross, blue running)"
    return _plot(title, "epoch", metric, data)


def score_by_cost(good: Sequence[FrozenTrial], attribute: str, label: str, metric: str, maximize: bool) -> Plot:
    """Plot score against cost with the Pareto front, for at most N_POINTS trials.

    good: complete feasible trials, best first. attribute: user attribute with the cost. label, metric: of the axes.
    """
    known = ((attributes_of(trial).get(attribute), trial) for trial in good)
    points = [(cost, trial.values[0], trial) for cost, trial in known if cost is not None][:N_POINTS]
    front = pareto_front([(cost, score) for cost, score, _ in points], rising=maximize)
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "trials",
            "x": [cost for cost, _, _ in points],
            "y": [score for _, score, _ in points],
            "text": [f"trial {t.number}" for _, _, t in points],
            "marker": {"color": COLOURS[Fate.COMPLETE], "size": 7, "opacity": 0.7},
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto front",
            "x": [cost for cost, _ in front],
            "y": [score for _, score in front],
            "line": {"shape": "hv", "color": COLOURS[Fate.PRUNED], "width": 1.5},
        },
    ]
    return _plot(f"{metric} against {label}", label, metric, data, x_type="log")


def workers_over_time(trials: Sequence[FrozenTrial]) -> Plot:
    """Plot which worker ran each of the latest N_BARS trials, and when."""
    known = ((trial, attributes_of(trial).get(WORKER)) for trial in trials if trial.datetime_start is not None)
    started = [(trial, worker, fate_of(trial)) for trial, worker in known if worker][-N_BARS:]
    data = []
    for fate, colour in COLOURS.items():
        bars = [(trial, worker) for trial, worker, ended in started if ended == fate]
        if bars:
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": fate,
                    "y": [worker for _, worker in bars],
                    "base": [_moment(trial.datetime_start) for trial, _ in bars],
                    "x": [_milliseconds(trial) for trial, _ in bars],
                    "text": [str(trial.number) for trial, _ in bars],
                    "marker": {"color": colour},
                }
            )
    plot = _plot("Workers over time (the bars' numbers are trials)", "UTC", "", data, x_type="date")
    plot["layout"] |= {"barmode": "overlay"}
    plot["layout"]["yaxis"] |= {"automargin": True, "type": "category"}
    return plot


def _moment(time: datetime | None) -> str:
    assert time is not None
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _milliseconds(trial: FrozenTrial) -> float:
    assert trial.datetime_start is not None
    end = trial.datetime_complete or datetime.now()  # Optuna's times are local and naive
    return round(1000 * (end - trial.datetime_start).total_seconds())


def _plot(title: str, x: str, y: str, data: list[dict[str, Any]], x_type: str = "linear") -> Plot:
    grid = {"gridcolor": GRID_COLOUR, "zerolinecolor": GRID_COLOUR}
    layout = {
        "title": {"text": title, "font": {"size": 15}},
        "xaxis": {"title": {"text": x}, "type": x_type, **grid},
        "yaxis": {"title": {"text": y}, **grid},
        # transparent, for the dashboard has a light and a dark theme
        "font": {"color": TEXT_COLOUR},
        "paper_bgcolor": TRANSPARENT,
        "plot_bgcolor": TRANSPARENT,
        "margin": {"t": 50, "b": 50, "l": 60, "r": 20},
    }
    return {"data": rounded(data, 5), "layout": layout}
