"""The plots of a study's page: what an outlier may not do to them, and what can be read without colour."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import plotly.io
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.pages.plots import Plot, learning_curves, score_by_cost, score_by_snr, workers_over_time
from search.queue.workers import Process, name_for_people, this_process
from search.trials import N_PARAMETERS, WORKER
from training.evaluation.figures import LOOKS, label_of

BEGAN = datetime(2026, 1, 1, 12)
EMPTY: Mapping[str, Any] = {}


def trial(
    number: int,
    value: float | None = None,
    state: TrialState | None = None,
    reports: Sequence[float] = (),
    attributes: Mapping[str, Any] = EMPTY,
) -> FrozenTrial:
    """A trial as a worker leaves it. reports: its scores by epoch."""
    made = create_trial(
        state=state if state is not None else TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        intermediate_values=dict(enumerate(reports)),
        user_attrs=dict(attributes),
    )
    made.number = number
    made.datetime_start = BEGAN + timedelta(minutes=number)
    made.datetime_complete = None if made.state == TrialState.RUNNING else BEGAN + timedelta(minutes=number + 1)
    return made


def checked(plot: Plot) -> Plot:
    """The plot, after Plotly has checked it."""
    plotly.io.from_json(plotly.io.json.to_json_plotly(plot))
    return plot


def test_a_curve_that_went_wrong_is_cut_off_and_the_page_says_so() -> None:
    trials = [trial(n, 5.0 + n / 10, reports=(-3.0, 2.0, 5.0 + n / 10)) for n in range(4)]
    trials.append(trial(4, reports=(-58.0, -57.0)))
    plot = checked(learning_curves(trials, trials[3::-1], "si_sdr_db", maximize=True))
    low, high = plot["layout"]["yaxis"]["range"]
    assert -4.0 < low < -3.0 and 5.3 < high < 6.0
    assert plot["layout"]["title"]["subtitle"]["text"].startswith("2 of 14 points lie outside the range shown")
    without = checked(learning_curves(trials[:4], trials[3::-1], "si_sdr_db", maximize=True))
    assert "subtitle" not in without["layout"]["title"]


def test_curves_count_epochs_from_1_and_the_best_trial_is_drawn_over_the_others() -> None:
    trials = [
        trial(0, 1.0, reports=(0.0, 1.0)),
        trial(1, reports=(0.0,)),
        trial(2, state=TrialState.RUNNING, reports=(0.0, 0.5, 0.7)),
    ]
    plot = checked(learning_curves(trials, trials[:1], "si_sdr_db", maximize=True))
    assert [trace["name"] for trace in plot["data"]] == ["pruned", "running", "best: trial 0"]
    assert [trace["x"] for trace in plot["data"]] == [[1], [1, 2, 3], [1, 2]]
    assert plot["data"][0]["marker"]["symbol"] == ["x"]
    assert plot["data"][1]["line"]["dash"] == "dash"
    assert "trial 1 pruned" in plot["data"][0]["hovertemplate"]
    assert plot["layout"]["xaxis"]["tickvals"] == [1, 2, 3]
    assert (plot["layout"]["xaxis"]["title"]["text"], plot["layout"]["yaxis"]["title"]["text"]) == (
        "epoch",
        "SI-SDR in dB",
    )


def test_each_fate_stands_in_the_legend_once() -> None:
    trials = [trial(n, 1.0, reports=(0.0, 1.0)) for n in range(3)]
    plot = learning_curves(trials, [], "si_sdr_db", maximize=True)
    assert [trace["showlegend"] for trace in plot["data"]] == [True, False, False]


@pytest.mark.parametrize("maximize", [True, False])
def test_a_trial_that_went_wrong_does_not_flatten_scores_against_cost(maximize: bool) -> None:
    sign = 1.0 if maximize else -1.0
    trials = [trial(n, sign * (5.0 - n / 10), attributes={N_PARAMETERS: 1000 * (n + 1)}) for n in range(8)]
    trials.append(trial(8, sign * -60.0, attributes={N_PARAMETERS: 300_000}))
    plot = checked(score_by_cost(trials, N_PARAMETERS, "parameters", "si_sdr_db", maximize))
    low, high = plot["layout"]["yaxis"]["range"]
    assert high - low < 2.0
    assert plot["layout"]["title"]["subtitle"]["text"].startswith("1 of 9 trials lies outside")
    assert plot["layout"]["xaxis"]["type"] == "log"
    assert plot["layout"]["xaxis"]["ticktext"] == ["1k", "3k", "10k", "30k", "100k", "300k"]
    assert plot["data"][2]["name"] == "best: trial 0"


def test_scores_by_snr_can_be_told_apart_without_colour() -> None:
    """Trials are solid with filled markers, classical methods dashed with hollow ones, and no two are alike."""
    best = [trial(n, 5.0, attributes={"si_sdr_db@-5": 1.0 + n, "si_sdr_db@+0": 5.0}) for n in range(7)]
    classical = {method: {"-5": -5.0, "+0": float(i)} for i, method in enumerate(LOOKS)}
    plot = checked(score_by_snr(best, classical))
    looks = [(trace["line"].get("dash"), trace["marker"]["symbol"]) for trace in plot["data"]]
    assert len(set(looks)) == len(looks) == len(LOOKS) + 5
    for trace in plot["data"]:
        is_trial = trace["name"].startswith("trial")
        assert is_trial == ("dash" not in trace["line"]) == (not trace["marker"]["symbol"].endswith("-open"))
    assert {label_of(method) for method in LOOKS} < {trace["name"] for trace in plot["data"]}
    assert plot["data"][-1]["name"] == "trial 0", "the best is drawn last"
    assert min(plot["data"], key=lambda trace: int(trace["legendrank"]))["name"] == "trial 0", "and named first"
    assert plot["layout"]["xaxis"]["ticktext"] == ["-5", "0"]


def test_workers_are_named_as_by_the_command() -> None:
    trials = [
        trial(0, 1.0, attributes={WORKER: "a-host.with.a.very.long.name.example.org:4711:9"}),
        trial(1, 1.0, attributes={WORKER: "b:12:9"}),
        trial(2, state=TrialState.RUNNING, attributes={WORKER: "b:12:9"}),
    ]
    axis = checked(workers_over_time(trials))["layout"]["yaxis"]
    assert axis["tickvals"] == ["4711@a-host.with.a.very.long.name.example.org", "12@b"]
    assert axis["ticktext"] == ["4711@a-host.with.a.…", "12@b"]
    for process in (this_process(), Process("host:7:99", "host", 7, 99), Process("host:7", "host", 7, None)):
        assert name_for_people(process.name) == process.shown
    assert name_for_people("named by another program") == "named by another program"


def test_a_study_without_trials_has_plots_too() -> None:
    for plot in (
        score_by_snr([], {}),
        learning_curves([], [], "si_sdr_db", maximize=True),
        score_by_cost([], N_PARAMETERS, "parameters", "si_sdr_db", maximize=True),
        workers_over_time([]),
    ):
        checked(plot)
