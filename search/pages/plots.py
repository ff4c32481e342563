"""Plots for the study page, as Plotly JSON (plotly.com/javascript/reference), made without the library.

Each plot has at most a few hundred points, whatever the study's size, for the page fetches it after every change.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.trial import FrozenTrial

from search.queue.workers import name_for_people
from search.trials import SI_SDR_AT, WORKER, Fate, attributes_of, fate_of, pareto_front
from training.evaluation.figures import (
    GREY,
    LOOKS,
    METHOD_REACH,
    Look,
    curve_range,
    ends_of,
    label_of,
    log_ticks,
    n_outside,
    outside_words,
    shown_range,
    title_of,
)
from training.numbers import compact, rounded
from training.report import shown_snr

N_CURVES, N_POINTS, N_BARS = 40, 500, 300
MAX_NAME = 20  # characters of a worker's name beside its bars
COLOURS = {
    Fate.COMPLETE: "#1f7a5c",
    Fate.PRUNED: "#c2410c",
    Fate.INFEASIBLE: "#b8860b",
    Fate.FAILED: "#8a8f98",
    Fate.RUNNING: "#2563eb",
    Fate.WAITING: "#2563eb",
}
DASHES = {Fate.RUNNING: "dash", Fate.FAILED: "dot", Fate.INFEASIBLE: "dot"}
PATTERNS = {Fate.PRUNED: "/", Fate.INFEASIBLE: "x", Fate.FAILED: "."}
TRIAL_COLOURS = ("#1f7a5c", "#2563eb", "#c2410c", "#9333ea", "#b8860b")  # best first; readable on white and on black
TRIAL_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
TEXT_COLOUR, GRID_COLOUR, TRANSPARENT = "#7c8594", "rgba(128,128,128,0.3)", "rgba(0,0,0,0)"
ZOOM = "a double click shows all"
Plot = dict[str, Any]
Classical = Mapping[str, Mapping[str, float]]


def score_by_snr(best: Sequence[FrozenTrial], classical: Classical) -> Plot:
    """Plot the SI-SDR of the best trials and of classical methods against the SNR of the validation mixture.

    best: best first. classical: method -> SNR such as "-10" -> SI-SDR in dB.
    """
    data = []
    for method, by_snr in classical.items():
        look = LOOKS.get(method, Look(GREY, "x", "x-open", (3, 3)))
        line = {"color": look.colour, "width": 1.2, "dash": ",".join(f"{1.5 * part:g}px" for part in look.dashes)}
        data.append(_by_snr(label_of(method), by_snr, line, {"symbol": look.symbol, "size": 8}))
    shown = list(zip(best, TRIAL_COLOURS, TRIAL_SYMBOLS, strict=False))
    for i, (trial, colour, symbol) in reversed(list(enumerate(shown))):  # the best is drawn last, over the others
        own = {k.removeprefix(SI_SDR_AT): v for k, v in attributes_of(trial).items() if k.startswith(SI_SDR_AT)}
        line = {"color": colour, "width": 1.5 if i else 3}
        data.append(_by_snr(f"trial {trial.number}", own, line, {"symbol": symbol, "size": 6 if i else 9}, rank=i))
    data = [trace for trace in data if trace["x"]]
    plot = _plot("Best trials beside the classical rows", "SNR of the mixture in dB", "SI-SDR in dB", data)
    snrs_db = sorted({snr for trace in data for snr in trace["x"]})
    if data:
        curves = [trace["y"] for trace in data]
        _clip(
            plot, [y for curve in curves for y in curve], curve_range(curves, rising=True, reach=METHOD_REACH), "points"
        )
        plot["layout"]["xaxis"] |= {"tickvals": snrs_db, "ticktext": [shown_snr(snr) for snr in snrs_db]}
    return plot


def _by_snr(
    name: str, by_snr: Mapping[str, float], line: dict[str, Any], marker: dict[str, Any], rank: int = len(TRIAL_COLOURS)
) -> dict[str, Any]:
    """Return a line of SI-SDR against SNR. rank: its place in the legend, from 0."""
    points = sorted((float(snr), value) for snr, value in by_snr.items() if math.isfinite(value))
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendrank": 1000 + rank,
        "x": [snr for snr, _ in points],
        "y": [value for _, value in points],
        "hovertemplate": f"{name}<br>%{{y:.2f}} dB at %{{x}} dB<extra></extra>",
        "line": line,
        "marker": marker,
    }


def learning_curves(trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial], metric: str, maximize: bool) -> Plot:
    """Plot score against epoch for the best and the latest trials, with a cross where a trial was pruned.

    trials: all, by number. best: best first. metric: the study's.
    """
    chosen = {t.number: t for t in best[: N_CURVES // 2]}
    latest = [t for t in reversed(trials) if t.intermediate_values][: N_CURVES - len(chosen)]
    chosen |= {t.number: t for t in latest}
    leader = best[0].number if best else None
    data: list[dict[str, Any]] = []
    for number, trial in sorted(chosen.items(), key=lambda row: (row[0] == leader, row[0])):
        # Optuna's steps count epochs from 0
        reports = sorted((step + 1, v) for step, v in trial.intermediate_values.items() if math.isfinite(v))
        if not reports:
            continue
        fate = fate_of(trial)
        name = f"best: trial {number}" if number == leader else str(fate)
        symbols = ["circle"] * (len(reports) - 1) + ["x" if fate == Fate.PRUNED else "circle"]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "legendgroup": name,
                "showlegend": all(trace["name"] != name for trace in data),
                "x": [epoch for epoch, _ in reports],
                "y": [value for _, value in reports],
                "hovertemplate": f"trial {number} {fate}<br>epoch %{{x}}: %{{y:.3f}}<extra></extra>",
                "line": {
                    "color": COLOURS[fate],
                    "width": 3.5 if number == leader else 1,
                    "dash": DASHES.get(fate, "solid"),
                },
                "marker": {"symbol": symbols, "size": [3] * (len(reports) - 1) + [9 if fate == Fate.PRUNED else 5]},
            }
        )
    plot = _plot("Learning curves (crosses: pruned)", "epoch", title_of(metric), data)
    if data:
        curves = [trace["y"] for trace in data]
        _clip(plot, [y for curve in curves for y in curve], curve_range(curves, rising=maximize), "points")
    if (last := max((trace["x"][-1] for trace in data), default=0)) <= 12:
        plot["layout"]["xaxis"] |= {"tickvals": list(range(1, last + 1))}
    return plot


def score_by_cost(good: Sequence[FrozenTrial], attribute: str, label: str, metric: str, maximize: bool) -> Plot:
    """Plot score against cost with the Pareto front, for at most N_POINTS trials.

    good: complete feasible trials, best first. attribute: user attribute with the cost. label: of the axis, with its
    unit. metric: the study's.
    """
    known = ((attributes_of(trial).get(attribute), trial) for trial in good)
    points = [(cost, trial.values[0], trial) for cost, trial in known if cost is not None and cost > 0][:N_POINTS]
    front = pareto_front([(cost, score) for cost, score, _ in points], rising=maximize)
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto front",
            "x": [cost for cost, _ in front],
            "y": [score for _, score in front],
            "hoverinfo": "skip",
            "line": {"shape": "hv", "color": COLOURS[Fate.PRUNED], "width": 1.5},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "trials",
            "x": [cost for cost, _, _ in points],
            "y": [score for _, score, _ in points],
            "text": [f"trial {t.number}" for _, _, t in points],
            "hovertemplate": "%{text}<br>%{y:.3f}, %{x:,}<extra></extra>",
            "marker": {"color": COLOURS[Fate.COMPLETE], "size": 7, "opacity": 0.7},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"best: trial {points[0][2].number}" if points else "best",
            "x": [cost for cost, _, _ in points[:1]],
            "y": [score for _, score, _ in points[:1]],
            "hoverinfo": "skip",
            "marker": {
                "symbol": "circle-open",
                "color": COLOURS[Fate.PRUNED],
                "size": 15,
                "line": {"width": 2.5},
            },
        },
    ]
    plot = _plot(f"{title_of(metric)} against {label}", label, title_of(metric), data)
    if points:
        scores = [score for _, score, _ in points]
        _clip(plot, scores, shown_range(scores, rising=maximize), "trials")
        low, high = ends_of([cost for cost, _, _ in points])
        pad = 0.05 * math.log10(high / low)
        ticks = log_ticks(low, high)
        plot["layout"]["xaxis"] |= {
            "type": "log",
            "range": [math.log10(low) - pad, math.log10(high) + pad],
            "tickvals": ticks,
            "ticktext": [compact(tick) for tick in ticks],
        }
    return plot


def workers_over_time(trials: Sequence[FrozenTrial]) -> Plot:
    """Plot which worker ran each of the latest N_BARS trials, and when. Workers are named as by `drivebeat workers`."""
    known = ((trial, attributes_of(trial).get(WORKER)) for trial in trials if trial.datetime_start is not None)
    started = [(trial, name_for_people(worker), fate_of(trial)) for trial, worker in known if worker][-N_BARS:]
    names = sorted({name for _, name, _ in started}, key=lambda name: name.partition("@")[::-1])
    data = []
    for fate, colour in COLOURS.items():
        bars = [(trial, name) for trial, name, ended in started if ended == fate]
        if bars:
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": fate,
                    "y": [name for _, name in bars],
                    "base": [_moment(trial.datetime_start) for trial, _ in bars],
                    "x": [_milliseconds(trial) for trial, _ in bars],
                    "text": [str(trial.number) for trial, _ in bars],
                    "hovertemplate": f"trial %{{text}} {fate}<br>%{{y}}<extra></extra>",
                    "textposition": "inside",
                    "insidetextanchor": "middle",
                    "textangle": 0,
                    "insidetextfont": {"color": "#ffffff"},
                    "marker": {
                        "color": colour,
                        "line": {"color": "rgba(255,255,255,0.7)", "width": 1},
                        "pattern": {
                            "shape": PATTERNS.get(fate, ""),
                            "fillmode": "overlay",
                            "fgcolor": "#ffffff",
                            "fgopacity": 0.4,
                            "size": 6,
                            "solidity": 0.2,
                        },
                    },
                }
            )
    plot = _plot("Workers over time (the bars' numbers are trials)", "time, UTC", "", data)
    plot["layout"] |= {
        "barmode": "overlay",
        "uniformtext": {"mode": "hide", "minsize": 7},  # a number that its bar has no room for is shown by the mouse
        "legend": {"orientation": "h", "y": -0.25},
    }
    plot["layout"]["xaxis"] |= {"type": "date"}
    plot["layout"]["yaxis"] |= {
        "type": "category",
        "automargin": True,
        "categoryorder": "array",
        "categoryarray": names[::-1],
        "tickvals": names,
        "ticktext": [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…" for name in names],
    }
    return plot


def _moment(time: datetime | None) -> str:
    assert time is not None
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _milliseconds(trial: FrozenTrial) -> float:
    assert trial.datetime_start is not None
    end = trial.datetime_complete or datetime.now()  # Optuna's times are local and naive
    return round(1000 * (end - trial.datetime_start).total_seconds())


def _clip(plot: Plot, values: Sequence[float], shown: tuple[float, float], noun: str) -> None:
    """Limit the y axis to the range `shown`, and state how many of `values` lie outside."""
    plot["layout"]["yaxis"] |= {"range": list(shown)}
    if words := outside_words(n_outside(values, shown), len(values), noun):
        plot["layout"]["title"] |= {"subtitle": {"text": f"{words}; {ZOOM}", "font": {"size": 12}}}


def _plot(title: str, x: str, y: str, data: list[dict[str, Any]]) -> Plot:
    grid = {"gridcolor": GRID_COLOUR, "zerolinecolor": GRID_COLOUR}
    layout = {
        "title": {"text": title, "font": {"size": 15}},
        "xaxis": {"title": {"text": x}, "tickangle": 0, **grid},
        "yaxis": {"title": {"text": y}, **grid},
        # transparent, for the dashboard has a light and a dark theme
        "font": {"color": TEXT_COLOUR},
        "paper_bgcolor": TRANSPARENT,
        "plot_bgcolor": TRANSPARENT,
        "margin": {"t": 60, "b": 50, "l": 60, "r": 20},
    }
    return {"data": rounded(data, 5), "layout": layout}
