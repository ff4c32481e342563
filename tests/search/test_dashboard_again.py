"""A study deleted and made again by another process while the dashboard runs: SQLite gives its id, the ids of its
trials and those of their rows again, and the page shows the new one alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from search.dashboard.server import build
from search.dashboard.storage import PageStorage
from search.pages.notes import put_note
from search.storage.open import open_storage

Ask = Callable[..., tuple[int, dict[str, str], bytes]]
Fill = Callable[[optuna.Study, str], None]


def of_finished(study: optuna.Study, name: str) -> None:
    """Three complete trials of a parameter and an attribute called `name`, with a note."""
    for i in range(3):
        reports = {step: float(len(name)) for step in range(2)}
        study.add_trial(
            create_trial(
                value=i + len(name) / 100,
                params={name: i / 3},
                distributions={name: FloatDistribution(0.0, 1.0)},
                intermediate_values=reports,
                user_attrs={name: "yes"},
            )
        )
    put_note(study._storage, study._study_id, study.get_trials()[0]._trial_id, f"note of {name}", 1)


def of_running(study: optuna.Study, name: str) -> None:
    """A trial that runs, one step in."""
    trial = study.ask({name: FloatDistribution(0.0, 1.0)})
    trial.set_user_attr(name, "yes")
    trial.report(float(len(name)), 0)


def of_waiting(study: optuna.Study, name: str) -> None:
    """A trial that nobody has taken yet."""
    study.enqueue_trial({name: 0.5})


def remake(study: optuna.Study, **changes: Any) -> optuna.Study:
    """Delete it and make another, as a process that the dashboard does not know of would."""
    storage, before = study._storage, study._study_id
    optuna.delete_study(study_name=study.study_name, storage=storage)
    again = optuna.create_study(storage=storage, **{"study_name": study.study_name, "direction": "maximize", **changes})
    assert again._study_id == before, "the case that this is about"
    return again


@pytest.fixture
def shown(bench: Any, tmp_path: Path) -> Any:
    """The dashboard's application over the bench's database."""
    return build(PageStorage(open_storage(bench.url, fast=False), bench.engine), FileSystemArtifactStore(str(tmp_path)))


def seen(shown: Any, ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(shown, "/api/studies/1", query="after=0")[2])
    return found


def importances(shown: Any, ask: Ask) -> list[set[str]]:
    told = json.loads(ask(shown, "/api/studies/1/param_importances")[2])["param_importances"]
    return [{row["name"] for row in of_objective} for of_objective in told]


@pytest.mark.parametrize("then", [of_finished, of_running, of_waiting])
@pytest.mark.parametrize("first", [of_finished, of_running, of_waiting])
def test_the_page_is_that_of_a_dashboard_that_never_saw_the_old_study(
    first: Fill, then: Fill, bench: Any, shown: Any, tmp_path: Path, ask: Ask
) -> None:
    study = optuna.create_study(storage=bench.storage, study_name="again", direction="maximize")
    first(study, "old")
    before = seen(shown, ask)
    assert "old" in json.dumps(before["trials"])
    then(remake(study), "newer")
    after = seen(shown, ask)
    assert "old" not in json.dumps(after)
    fresh = build(PageStorage(open_storage(bench.url, fast=False), bench.engine), FileSystemArtifactStore("."))
    assert after == seen(fresh, ask)
    assert len(after["trials"]) == (3 if then is of_finished else 1)


def test_its_importances_are_its_own_though_as_many_trials_are_complete(bench: Any, shown: Any, ask: Ask) -> None:
    study = optuna.create_study(storage=bench.storage, study_name="again", direction="maximize")
    of_finished(study, "old")
    assert importances(shown, ask) == [{"old"}]
    of_finished(remake(study), "newer")
    assert importances(shown, ask) == [{"newer"}]


def test_another_name_and_other_directions_are_seen(bench: Any, shown: Any, ask: Ask) -> None:
    study = optuna.create_study(storage=bench.storage, study_name="again", direction="maximize")
    of_finished(study, "old")
    assert [trial["number"] for trial in seen(shown, ask)["best_trials"]] == [2]
    assert importances(shown, ask) == [{"old"}]
    again = remake(study, study_name="another", direction=None, directions=["minimize", "maximize"])
    for i in range(3):
        again.add_trial(
            create_trial(
                values=[float(i), 2.0 * i],
                params={"newer": i / 3},
                distributions={"newer": FloatDistribution(0.0, 1.0)},
            )
        )
    after = seen(shown, ask)
    assert (after["name"], after["directions"]) == ("another", ["minimize", "maximize"])
    assert [trial["number"] for trial in after["best_trials"]] == [0, 1, 2]
    assert importances(shown, ask) == [{"newer"}, {"newer"}]


def test_a_copy_cut_short_shows_no_trial_that_was_cut(bench: Any, shown: Any, ask: Ask) -> None:
    """Its trials are the old one's to the microsecond, as far as they go."""
    study = optuna.create_study(storage=bench.storage, study_name="again", direction="maximize")
    of_finished(study, "old")
    trials = study.get_trials()
    assert len(seen(shown, ask)["trials"]) == 3
    remake(study).add_trials(trials[:2])
    assert [trial["number"] for trial in seen(shown, ask)["trials"]] == [0, 1]


def test_an_attribute_of_a_trial_older_than_one_that_was_seen_running_is_among_the_studys(
    bench: Any, shown: Any, ask: Ask
) -> None:
    study = optuna.create_study(storage=bench.storage, study_name="again", direction="maximize")
    older, newer = study.ask(), study.ask()
    seen(shown, ask)
    newer.report(1.0, 0)
    seen(shown, ask)
    older.set_user_attr("late", 1)
    study.tell(older, 1.0)
    assert {row["key"] for row in seen(shown, ask)["union_user_attrs"]} == {"late"}
