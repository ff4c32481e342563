"""Requests that cannot be answered: 4xx as from optuna-dashboard, and nothing stored."""

import json
from typing import Any

import pytest
from optuna.trial import TrialState

from search.dashboard.bodies import BODIES
from search.dashboard.private import PREFERENTIAL_STUDY
from tests.support.dashboard import send
from tests.support.shown import HUGE, NO_ARTIFACT, NO_STUDY, NO_TRIAL, TEXT, Shown, reason_of


@pytest.mark.parametrize("study", [NO_STUDY, HUGE])
def test_a_study_that_does_not_exist_is_404_on_every_route_and_stores_nothing(shown_of_each: Shown, study: int) -> None:
    shown, before = shown_of_each, shown_of_each.stored
    trial, artifact = shown.running._trial_id, shown.of_study
    note = {"version": 1, "body": "text"}
    for method, path, document in (
        ("GET", f"/api/studies/{study}", None),
        ("GET", f"/api/studies/{study}/param_importances", None),
        ("GET", f"/api/studies/{study}/plot/edf", None),
        ("GET", f"/csv/{study}", None),
        ("GET", f"/artifacts/{study}/{artifact}", None),
        ("GET", f"/artifacts/{study}/{trial}/{shown.of_running}", None),
        ("DELETE", f"/api/studies/{study}", None),
        ("POST", f"/api/studies/{study}/rename", {"study_name": "new"}),
        ("PUT", f"/api/studies/{study}/note", note),
        ("PUT", f"/api/studies/{study}/{trial}/note", note),
        ("POST", f"/api/studies/{study}/preference", {"mode": "ChooseWorst", "candidates": [0], "clicked": 0}),
        ("PUT", f"/api/studies/{study}/preference_feedback_component", {"output_type": "note"}),
        ("POST", f"/api/studies/{study}/{trial}/skip", None),
        ("POST", f"/api/artifacts/{study}", {"file": TEXT}),
        ("POST", f"/api/artifacts/{study}/{trial}", {"file": TEXT}),
        ("DELETE", f"/api/artifacts/{study}/{artifact}", None),
        ("DELETE", f"/api/artifacts/{study}/{trial}/{shown.of_running}", None),
    ):
        answer = shown.send(method, path, document)
        assert answer.status == 404, f"{method} {path}: {answer}"
    assert shown.stored == before


@pytest.mark.parametrize("trial", [NO_TRIAL, HUGE, "of another study"])
def test_a_trial_that_does_not_exist_is_404_on_every_route_and_stores_nothing(shown_of_each: Shown, trial: Any) -> None:
    shown, before = shown_of_each, shown_of_each.stored
    study, is_of_another = shown.study._study_id, trial == "of another study"
    trial = shown.of_other._trial_id if is_of_another else trial
    requests: list[tuple[str, str, Any]] = [
        ("GET", f"/artifacts/{study}/{trial}/{shown.of_running}", None),
        ("PUT", f"/api/studies/{study}/{trial}/note", {"version": 1, "body": "text"}),
        ("POST", f"/api/studies/{study}/{trial}/skip", None),
        ("POST", f"/api/artifacts/{study}/{trial}", {"file": TEXT}),
        ("DELETE", f"/api/artifacts/{study}/{trial}/{shown.of_running}", None),
    ]
    if not is_of_another:
        requests += [
            ("POST", f"/api/trials/{trial}/tell", {"state": "Complete", "values": [1.0]}),
            ("POST", f"/api/trials/{trial}/user-attrs", {"user_attrs": {"a": 1}}),
        ]
    for method, path, document in requests:
        assert shown.send(method, path, document).status == 404, f"{method} {path}"
    assert shown.stored == before


def test_a_number_that_is_no_id_is_404(shown: Shown) -> None:
    for number in (0, -1, 2**31, 2**63, "\xd9\xa1\xd9\xa7"):  # the last is 17 in Arabic digits
        for path in (f"/api/studies/{number}", f"/csv/{number}", f"/artifacts/{number}/{shown.of_study}"):
            assert shown.send("GET", path).status == 404, path
        assert shown.send("POST", f"/api/trials/{number}/tell", {"state": "Fail"}).status == 404, number


def test_an_artifact_that_does_not_exist_is_404_as_from_the_stock_dashboard_and_stores_nothing(shown: Shown) -> None:
    before, study, trial = shown.stored, shown.study._study_id, shown.running._trial_id
    for artifact in (NO_ARTIFACT, shown.of_running.upper(), "-"):
        for method, folder in (("GET", "/artifacts"), ("DELETE", "/api/artifacts")):
            for path in (f"{folder}/{study}/{artifact}", f"{folder}/{study}/{trial}/{artifact}"):
                assert shown.send(method, path).status == 404, f"{method} {path}"
                assert send(shown.stock, method, path).status == 404, f"{method} {path}"
    # of the study, but not of the trial, and the other way round: it is not removed from the store either
    assert shown.send("DELETE", f"/api/artifacts/{study}/{trial}/{shown.of_study}").status == 404
    assert shown.send("DELETE", f"/api/artifacts/{study}/{shown.of_running}").status == 404
    assert shown.stored == before


def test_an_artifact_is_deleted_once(shown: Shown) -> None:
    study, trial = shown.study._study_id, shown.running._trial_id
    for path, file in ((f"{study}/{shown.of_study}", shown.of_study), (f"{study}/{trial}/{shown.of_running}", "")):
        assert shown.send("GET", f"/artifacts/{path}").body == b"text"
        assert shown.send("DELETE", f"/api/artifacts/{path}").status == 204
        before = shown.stored
        assert file not in before["files"]
        assert shown.send("GET", f"/artifacts/{path}").status == 404
        assert shown.send("DELETE", f"/api/artifacts/{path}").status == 404
        assert shown.stored == before


def test_an_artifact_whose_file_is_gone_is_404_and_can_be_deleted(shown: Shown) -> None:
    """The limits of retention remove files of finished trials, and people remove what they like."""
    study = shown.study._study_id
    (shown.folder / shown.of_study).unlink()
    assert reason_of(shown.send("GET", f"/artifacts/{study}/{shown.of_study}")) == (
        f"artifact_id={shown.of_study} is not found"
    )
    assert shown.send("DELETE", f"/api/artifacts/{study}/{shown.of_study}").status == 204
    assert json.loads(shown.send("GET", f"/api/studies/{study}").body)["artifacts"] == []


def test_a_finished_trial_is_not_changed(shown: Shown) -> None:
    """optuna-dashboard deletes the file of its artifact before it finds that the trial is finished."""
    study, trial = shown.study._study_id, shown.running._trial_id
    shown.study.tell(shown.running.number, 2.0)
    before = shown.stored
    for method, path, document in (
        ("POST", f"/api/trials/{trial}/tell", {"state": "Fail"}),
        ("POST", f"/api/trials/{trial}/user-attrs", {"user_attrs": {"a": 1}}),
        ("DELETE", f"/api/artifacts/{study}/{trial}/{shown.of_running}", None),
    ):
        answer = shown.send(method, path, document)
        assert (answer.status, reason_of(answer)) == (409, "the trial is finished and cannot be changed")
    assert shown.send("POST", f"/api/artifacts/{study}/{trial}", {"file": TEXT}).status == 400
    assert shown.stored == before
    assert shown.send("PUT", f"/api/studies/{study}/{trial}/note", {"version": 1, "body": "good"}).status == 204


def test_preferences_are_not_stored_in_a_study_without_them(shown: Shown) -> None:
    """optuna-dashboard would end the running trials with the value 0."""
    before, study = shown.stored, shown.study._study_id
    for method, path, document in (
        ("POST", "preference", {"mode": "ChooseWorst", "candidates": [0, 1], "clicked": 1}),
        ("PUT", "preference_feedback_component", {"output_type": "note"}),
        ("POST", f"{shown.running._trial_id}/skip", None),
    ):
        answer = shown.send(method, f"/api/studies/{study}/{path}", document)
        assert (answer.status, reason_of(answer)) == (400, "The study is not preferential.")
    assert shown.stored == before
    assert shown.study.trials[1].state == TrialState.RUNNING


def test_preferences_are_stored_in_a_study_of_preferences(shown: Shown) -> None:
    study = shown.study._study_id
    shown.study._storage.set_study_system_attr(study, PREFERENTIAL_STUDY, True)
    path, choice = f"/api/studies/{study}/preference", {"mode": "ChooseWorst", "candidates": [0, 1], "clicked": 1}
    before = shown.stored
    for document in ({**choice, "candidates": [0, 2]}, {**choice, "clicked": -3}, {**choice, "clicked": 2}):
        assert shown.send("POST", path, document).status == 400
    assert shown.send("DELETE", f"{path}/unknown").status == 404
    assert shown.send("POST", f"{path}/unknown").status == 404
    assert shown.stored == before
    assert shown.send("POST", path, choice).status == 204
    assert shown.study.trials[1].state == TrialState.COMPLETE
    (history,) = json.loads(shown.send("GET", f"/api/studies/{study}").body)["preference_history"]
    identifier = history["history"]["id"]
    assert shown.send("DELETE", f"{path}/{identifier}").status == 204
    assert shown.send("POST", f"{path}/{identifier}").status == 204
    assert shown.send("PUT", f"{path}_feedback_component", {"output_type": "note"}).status == 204
    assert shown.send("POST", f"/api/studies/{study}/{shown.running._trial_id}/skip").status == 204


def test_a_wrong_number_of_values_breaks_no_page(shown: Shown, bench: Any, make_spec: Any) -> None:
    def tell(trial_id: int, *values: float) -> int:
        return shown.send("POST", f"/api/trials/{trial_id}/tell", {"state": "Complete", "values": values}).status

    before, ours = shown.stored, bench.create(make_spec()).optuna.ask()
    assert tell(shown.of_other._trial_id, 1.0) == 400
    assert tell(ours._trial_id, 1.0, 2.0) == 400
    assert shown.stored.keys() == before.keys()
    assert tell(shown.running._trial_id, 1.0, 2.0) == 204, "as the stock dashboard"
    shown.other._storage.set_trial_state_values(shown.of_other._trial_id, TrialState.COMPLETE, [1.0])
    for study, number, n_values, n_objectives in ((1, 1, 2, 1), (2, 0, 1, 2)):
        page = shown.send("GET", f"/api/studies/{study}")
        assert (page.status, len(json.loads(page.body)["trials"])) == (200, 2 if study == 1 else 1)
        for name in ("param_importances", "plot/edf", "plot/slice", "plot/rank"):
            answer = shown.send("GET", f"/api/studies/{study}/{name}")
            reason = f"trial {number} has {n_values} values, and the study {n_objectives} objectives"
            assert (answer.status, reason_of(answer)) == (409, reason)
        assert shown.send("GET", f"/api/studies/{study}/plot/timeline").status == 200
        assert shown.send("GET", f"/csv/{study}").status == 200
    without = shown.other.ask()
    shown.other._storage.set_trial_state_values(without._trial_id, TrialState.COMPLETE)
    assert json.loads(shown.send("GET", "/api/studies/2").body)["best_trials"] == []


WRONG: dict[str, list[Any]] = {
    "NewStudy": [
        {"study_name": 5, "directions": ["minimize"]},
        {"study_name": "", "directions": ["minimize"]},
        {"study_name": "a" * 513, "directions": ["minimize"]},
        {"study_name": "a\0b", "directions": ["minimize"]},
        {"study_name": "a\nb", "directions": ["minimize"]},
        {"study_name": "\ud800", "directions": ["minimize"]},
        {"study_name": "new", "directions": "minimize"},
        {"study_name": "new", "directions": [1]},
        {"study_name": "new", "directions": ["sideways"]},
        {"study_name": "shown", "directions": ["minimize"]},
        {},
    ],
    "Rename": [{"study_name": 5}, {"study_name": ["new"]}, {"study_name": "other"}, {}],
    "Removal": [[1], {"remove_associated_artifacts": "no"}, "text"],
    "Note": [{"version": 1, "body": 5}, {"version": "1", "body": "text"}, {"version": 1}, {"body": "text"}, {}],
    "Tell": [
        {"state": "Complete"},
        {"state": "Complete", "values": []},
        {"state": "Complete", "values": ["nan"]},
        {"state": "Complete", "values": [float("nan")]},
        {"state": "Complete", "values": [10**400]},
        {"state": "Complete", "values": [None]},
        {"state": "Complete", "values": 1.0},
        {"state": "Running"},
        {"state": 5},
        {},
    ],
    "Attributes": [{"user_attrs": [1]}, {"user_attrs": "text"}, {"user_attrs": {"a" * 513: 1}}, {"user_attrs": {}}, {}],
    "Upload": [
        {"file": 5},
        {"file": "text"},
        {"file": "data:text/plain"},
        {"file": "data:text/plain;base64,abcde"},
        {"file": "data:text/plain;base64,ä"},
        {"file": "http://x/,abcd"},
        {"file": TEXT, "filename": 5},
        {"file": TEXT, "filename": None},
        {},
    ],
    "Preference": [{"mode": "ChooseWorst", "candidates": 5, "clicked": 1}, {"clicked": "x"}, {}],
    "Feedback": [{"output_type": 5}, {"output_type": "note", "artifact_key": 5}, {}],
}


def test_every_route_that_takes_a_body_has_its_cases() -> None:
    assert {model.__name__ for model in BODIES.values()} == WRONG.keys()


def test_a_wrong_body_is_400_and_stores_nothing(shown_of_each: Shown) -> None:
    shown, before = shown_of_each, shown_of_each.stored
    for method, rule in BODIES:
        check_wrong_bodies(shown, method, rule)
        assert shown.stored == before, f"{method} {rule}"


def check_wrong_bodies(shown: Shown, method: str, rule: str) -> None:
    study, trial = shown.study._study_id, shown.running._trial_id
    path = rule.replace("<study_id:int>", str(study)).replace("<trial_id:int>", str(trial))
    for document in WRONG[BODIES[method, rule].__name__]:
        answer = shown.send(method, path, document)
        assert answer.status == 400 or (answer.status, "body" in document) == (409, True), (document, answer)
        assert reason_of(answer)
    no_objects = [b"5", b'"text"', b"{", b"\xff", b"[" * 100_000, b'{"a": 1' + b"0" * 5000]
    if method != "DELETE":  # whose body may be absent
        no_objects += [b"", b"[]", b"null"]
        assert send(shown.application, method, path, body=b'{"a": 1}', content_type="text/plain").status == 400
    for body in no_objects:
        assert send(shown.application, method, path, body=body).status == 400, body[:20]
