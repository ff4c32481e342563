"""Requests that cannot be answered: 4xx as from optuna-dashboard, nothing stored, and never an error of the server."""

import base64
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState, create_trial
from optuna_dashboard import wsgi
from sqlalchemy import select

from search.dashboard.bodies import BODIES
from search.dashboard.private import PREFERENTIAL_STUDY
from search.dashboard.server import build
from search.dashboard.storage import PageStorage
from search.storage.fast.tables import OF_A_TRIAL, STUDIES, STUDY_SYSTEM, STUDY_USER, TRIALS
from search.storage.open import open_storage
from tests.support.dashboard import Answer, read_answer, running, send

TABLES = (STUDIES, STUDY_USER, STUDY_SYSTEM, TRIALS, *OF_A_TRIAL)
HUGE = 10**30
NO_STUDY, NO_TRIAL, NO_ARTIFACT = 77, 77, "0123abcd"
TEXT = "data:text/plain;base64," + base64.b64encode(b"text").decode()


class Shown:
    """A study with a finished and a running trial, each with an artifact, another study, and the dashboard of them."""

    def __init__(self, bench: Any, folder: Path) -> None:
        self.engine, self.folder = bench.engine, folder
        folder.mkdir()
        self.study = optuna.create_study(storage=bench.storage, study_name="shown", direction="maximize")
        self.study.add_trial(create_trial(value=1.0))
        self.running = self.study.ask()
        self.other = optuna.create_study(storage=bench.storage, study_name="other", directions=["minimize", "maximize"])
        self.of_other = self.other.ask()
        self.store = FileSystemArtifactStore(str(folder))
        source = folder.parent / "text.txt"
        source.write_text("text")
        self.of_study, self.of_running = (
            upload_artifact(artifact_store=self.store, file_path=str(source), study_or_trial=target)
            for target in (self.study, self.running)
        )
        storage = PageStorage(open_storage(bench.url, fast=False), bench.engine)
        self.application = build(storage, self.store)
        self.stock = wsgi(bench.storage, artifact_store=self.store)

    @property
    def stored(self) -> dict[str, Any]:
        """All rows of the database, and the files of the artifact store."""
        with self.engine.connect() as connection:
            rows = {table.name: sorted(map(repr, connection.execute(select(table)))) for table in TABLES}
        return {**rows, "files": sorted(path.name for path in self.folder.iterdir())}

    def send(self, method: str, path: str, document: Any = None, **named: Any) -> Answer:
        body = b"" if document is None else json.dumps(document).encode()
        answer = send(self.application, method, path, body=body, **named)
        assert not answer.log, answer.log
        return answer


@pytest.fixture
def shown(bench: Any, tmp_path: Path) -> Shown:
    return Shown(bench, tmp_path / "artifacts")


@pytest.fixture
def shown_of_each(bench_of_each: Any, tmp_path: Path) -> Shown:
    """The same on a database of each kind."""
    return Shown(bench_of_each, tmp_path / "artifacts")


def reason_of(answer: Answer) -> str:
    reason: str = json.loads(answer.body)["reason"]
    assert "\n" not in reason
    return reason


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


WRONG_PATHS = [
    ("/api/studies/1", "after=x", 400),
    ("/api/studies/1", "after=-1", 400),
    ("/api/studies/1", "after=%zz", 400),
    ("/api/studies/1", "after=%D9%A1", 400),
    ("/api/studies/1", "after=" + "9" * 5000, 400),
    ("/api/studies/1", "after=%FF%FE", 400),
    ("/csv/1", "trial_ids=x", 400),
    ("/csv/1", "trial_ids=" + "9" * 5000, 400),
    ("/csv/1", "trial_ids=%ff", 400),
    ("/api/studies/1/plot/pareto_front", "", 400),
    ("/api/studies/2/plot/pareto_front", "", 200),
    ("/api/studies/1/plot/sideways", "", 404),
    ("/api/studies/1/param_importances", "", 200),
    ("/static/../../../../etc/passwd", "", 403),
    ("/static/\0", "", 404),
    ("/static/" + "a" * 5000, "", 404),
    ("/\xff\xfe", "", 400),
    ("/api/studies/1\xff", "", 400),
    ("/api/studies/1", "after=0&x=%", 400),
    ("/http://[", "", 404),
    ("//[", "", 404),
    ("/api/studies/" + "9" * 5000, "", 400),
    ("", "", 302),
    ("/", "", 302),
]


def test_a_wrong_path_or_query_is_4xx(shown: Shown) -> None:
    for path, query, status in WRONG_PATHS:
        for method in ("GET", "HEAD"):
            assert shown.send(method, path, query=query).status == status, f"{method} {path} {query}"


WRONG_HEADERS = {
    "HTTP_HOST": ["[", "a b", "a/b", "me@host", "http://host", "host:port", "\xff", "a,b", "[::1"],
    "HTTP_X_FORWARDED_HOST": ["[", "a b", "//x", "[, dash.lab"],
    "HTTP_X_FORWARDED_PROTO": ["javascript", "http://", "["],
    "HTTP_ACCEPT_ENCODING": ["\x80"],
    "CONTENT_LENGTH": ["-1", "one", "1.5", "9" * 30, "²"],
}


def test_a_malformed_header_is_400_on_every_page(shown: Shown) -> None:
    for name, values in WRONG_HEADERS.items():
        for value in values:
            for path in ("/", "/dashboard", "/api/studies", "/missing"):
                answer = shown.send("GET", path, **{name: value})
                assert (answer.status, answer.body.count(b"\n")) == (400, 1), (name, value, path)


def test_headers_of_chained_proxies_are_read(shown: Shown) -> None:
    proxies = {"HTTP_X_FORWARDED_HOST": "dash.lab, inner:8080", "HTTP_X_FORWARDED_PROTO": "https,http"}
    assert shown.send("GET", "/", **proxies).headers["location"] == "https://dash.lab/dashboard"


def test_a_study_whose_name_is_no_file_name_has_no_csv(shown: Shown, bench: Any) -> None:
    study = optuna.create_study(storage=bench.storage, study_name="two\nlines")
    answer = shown.send("GET", f"/csv/{study._study_id}")
    assert (answer.status, reason_of(answer)[:40]) == (400, "the study's name has a line break, which")


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_head_has_the_status_and_headers_of_get_and_no_body(shown: Shown, encoding: str) -> None:
    study = shown.study._study_id
    for path in (
        "/",
        "/dashboard",
        "/dashboard/studies/1",
        "/favicon.ico",
        "/static/bundle.js",
        "/api/meta",
        "/api/studies",
        f"/api/studies/{study}",
        f"/api/studies/{study}/param_importances",
        f"/csv/{study}",
        f"/artifacts/{study}/{shown.of_study}",
        f"/artifacts/{study}/{shown.running._trial_id}/{shown.of_running}",
        "/missing",
        f"/api/studies/{NO_STUDY}",
    ):
        for tag in ("", shown.send("GET", path, HTTP_ACCEPT_ENCODING=encoding).headers.get("etag", "")):
            headers = {"HTTP_ACCEPT_ENCODING": encoding, "HTTP_IF_NONE_MATCH": tag}
            get, head = (shown.send(method, path, **headers) for method in ("GET", "HEAD"))
            assert (head.status, head.body) == (get.status, b""), path
            length = {} if get.status == 304 else {"content-length": str(len(get.body))}
            assert {**head.headers} == {**get.headers, **length}, path


def test_after_head_the_connection_goes_on(shown: Shown) -> None:
    """Over the real server: a body, or a length that is not that of GET, would be read as the next response."""
    paths = ("/dashboard", "/api/studies", f"/artifacts/{shown.study._study_id}/{shown.of_study}", "/missing")
    with running(shown.application, lambda environ: None) as server:
        connection = server.connect()
        for path in paths:
            answers = []
            for method in ("HEAD", "GET"):
                connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                answers.append(read_answer(connection, head=method == "HEAD"))
            head, get = ({**answer.headers, "date": ""} for answer in answers)
            assert head == get, path
            assert answers[0].status == answers[1].status


def test_head_ignores_a_range(shown: Shown) -> None:
    head, get = (shown.send(method, "/static/bundle.js", HTTP_RANGE="bytes=0-9") for method in ("HEAD", "GET"))
    assert (head.status, get.status, len(get.body)) == (200, 206, 10)


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
LATIN = st.text(st.characters(max_codepoint=255), max_size=12)
IDS = LATIN | st.sampled_from(["1", "2", "77", "0", "-1", str(2**31), str(HUGE), "abc", "0123abcd", "%31", "\xd9\xa1"])
WORDS = st.sampled_from(
    ["note", "rename", "preference", "preference_feedback_component", "skip", "tell", "user-attrs", "plot/edf"]
) | st.sampled_from(["plot/pareto_front", "plot/x", "param_importances"])
STARTS = st.sampled_from(
    ["/api/studies", "/api/trials", "/api/artifacts", "/artifacts", "/csv", "/static", "/dashboard", "/api/llm", ""]
)
PATHS = st.builds(
    lambda start, ids, words: "/".join([start, *ids, *words]),
    STARTS,
    st.lists(IDS, max_size=3),
    st.lists(WORDS, max_size=1),
)
NAMES = st.sampled_from(
    ["HOST", "ORIGIN", "REFERER", "COOKIE", "AUTHORIZATION", "RANGE", "IF_NONE_MATCH", "IF_MODIFIED_SINCE", "ACCEPT"]
) | st.sampled_from(
    ["ACCEPT_ENCODING", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_FORWARDED_FOR", "TRANSFER_ENCODING"]
)
VALUES = LATIN | st.sampled_from(["http://[", "[", "bytes=0-1,-", "bytes=9-0", "gzip;q=", "chunked", "*", "localhost"])
HEADERS = st.dictionaries(NAMES, VALUES, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from([name for model in BODIES.values() for name in model.model_fields])
DOCUMENTS = st.dictionaries(
    KEYS, JSON | st.sampled_from(["Complete", "minimize", ["minimize"], 1, [0, 1], TEXT, "ChooseWorst"]), max_size=4
)
CONTENTS = DOCUMENTS.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20)
KINDS = st.sampled_from(["application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain"])
QUERIES = LATIN | LATIN.map(lambda text: f"after={text}") | LATIN.map(lambda text: f"trial_ids={text}")


# Bottle leaves the file of a wrong Range to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(METHODS, PATHS, QUERIES, HEADERS, CONTENTS, KINDS)
def test_no_request_is_an_error_of_the_server(
    shown_of_each: Shown, method: str, path: str, query: str, headers: dict[str, str], content: bytes, kind: str
) -> None:
    """The fixture is shared by all requests, so the later ones meet what the earlier ones have changed."""
    named = {f"HTTP_{name}": value for name, value in headers.items()}
    answer = send(shown_of_each.application, method, path, query, content, kind, **named)
    assert answer.status < 500, answer
    assert not answer.log
