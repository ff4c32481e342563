"""Paths, queries, headers and HEAD: answered as HTTP wants, and no request at all is an error of the server."""

import json
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.dashboard.bodies import BODIES
from tests.support.dashboard import read_answer, running, send
from tests.support.shown import HUGE, NO_STUDY, TEXT, Shown, reason_of

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
            assert ("date" in head.headers) == ("date" in get.headers), path
            date = {"date": get.headers["date"]} if "date" in get.headers else {}  # a second may pass between the two
            assert {**head.headers, **date} == {**get.headers, **length}, path


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
