"""The door: nobody without a password but on this machine, nothing changed by readers or foreign pages."""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.artifacts import FileSystemArtifactStore

from search.dashboard.auth import Passwords, check_open, find_passwords, is_loopback, require_auth
from search.dashboard.server import build, stock
from search.dashboard.storage import PageStorage
from search.storage.open import open_storage
from training.errors import ConfigError

Ask = Callable[..., tuple[int, dict[str, str], bytes]]
BOTH = Passwords("the-full-one", "the-reading-one")

# What optuna-dashboard 0.21 answers to. Look at one more before it is let in here: does a GET change anything?
ROUTES = {
    "DELETE /api/artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
    "DELETE /api/artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
    "DELETE /api/studies/<study_id:int>",
    "DELETE /api/studies/<study_id:int>/preference/<history_id>",
    "GET /",
    "GET /api/meta",
    "GET /api/studies",
    "GET /api/studies/<study_id:int>",
    "GET /api/studies/<study_id:int>/param_importances",
    "GET /api/studies/<study_id:int>/plot/<plot_type>",
    "GET /artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
    "GET /artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
    "GET /csv/<study_id:int>",
    "GET /dashboard<:re:(/.*)?>",
    "GET /favicon.ico",
    "GET /incompatible-rdb-schema",
    "GET /static/<filename:path>",
    "POST /api/artifacts/<study_id:int>",
    "POST /api/artifacts/<study_id:int>/<trial_id:int>",
    "POST /api/llm/generate_plotly_graph_query",
    "POST /api/llm/re_generate_plotly_graph_query",
    "POST /api/llm/trial_filter_query",
    "POST /api/studies",
    "POST /api/studies/<study_id:int>/<trial_id:int>/skip",
    "POST /api/studies/<study_id:int>/preference",
    "POST /api/studies/<study_id:int>/preference/<history_id>",
    "POST /api/studies/<study_id:int>/rename",
    "POST /api/trials/<trial_id:int>/tell",
    "POST /api/trials/<trial_id:int>/user-attrs",
    "POST /incompatible-rdb-schema",
    "PUT /api/studies/<study_id:int>/<trial_id:int>/note",
    "PUT /api/studies/<study_id:int>/note",
    "PUT /api/studies/<study_id:int>/preference_feedback_component",
}


@pytest.fixture(scope="session")
def knock(ask: Ask) -> Ask:
    """Asks at 127.0.0.1:8080, by a password or without: (application, method, path, password, **headers)."""

    def answer(
        application: Any, method: str = "GET", path: str = "/", password: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        if password is not None:
            headers["AUTHORIZATION"] = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
        return ask(application, path, method, **({"HOST": "127.0.0.1:8080"} | headers))

    return answer


@pytest.fixture
def parts(bench: Any, make_spec: Any, tmp_path: Path) -> tuple[Any, Any]:
    """The application behind no door yet, and optuna-dashboard's own in it, over a database with a study."""
    bench.create(make_spec())
    storage, artifacts = (
        PageStorage(open_storage(bench.url, fast=False), bench.engine),
        FileSystemArtifactStore(str(tmp_path)),
    )
    return build(storage, artifacts), stock(storage, artifacts)


def routes_of(app: Any) -> list[tuple[str, str, str]]:
    """Method, rule and a path that the rule matches."""
    found = []
    for route in app.routes:
        path = re.sub(r"<:re:.*>$", "/studies/1", route.rule)
        path = re.sub(r"<[^<>]*:int>", "1", path)
        path = re.sub(r"<artifact_id:re:[^<>]*>", "abc-1", path)
        path = path.replace("<filename:path>", "bundle.js").replace("<plot_type>", "edf").replace("<history_id>", "h")
        assert "<" not in path, f"{route.rule}: a kind of route that this test does not know"
        found.append((route.method, route.rule, path))
    return found


def test_the_installed_dashboard_has_the_routes_that_were_looked_at(parts: tuple[Any, Any]) -> None:
    assert {f"{method} {rule}" for method, rule, _ in routes_of(parts[1])} == ROUTES


def test_without_a_password_every_route_answers_401(parts: tuple[Any, Any], knock: Ask) -> None:
    door = require_auth(parts[0], BOTH)
    walked = routes_of(parts[1])
    assert len(walked) >= len(ROUTES)
    for method, rule, path in walked:
        for wrong in (None, "", "the-full-on", "the-reading-one "):
            status, headers, body = knock(door, method, path, wrong, HOST="dash.lab:8080")
            assert status == 401, f"{method} {rule}"
            assert headers["WWW-Authenticate"].startswith("Basic")
            assert b"the-" not in body
    for header in ("", "Basic", "Basic !!!", "Basic /w==", "Bearer the-full-one", "basic dGhlLWZ1bGwtb25l"):
        assert knock(door, AUTHORIZATION=header)[0] == 401


def test_who_may_only_read_is_refused_every_change_and_nothing_else(
    parts: tuple[Any, Any], bench: Any, knock: Ask
) -> None:
    door = require_auth(parts[0], BOTH)
    for method, rule, path in routes_of(parts[1]):
        status, _, _ = knock(door, method, path, "the-reading-one", HOST="dash.lab:8080", ACCEPT_ENCODING="gzip")
        if method == "GET":
            assert status not in (401, 403, 405), f"{method} {rule}"
        else:
            assert status == 403, f"{method} {rule}"
    for method in ("PATCH", "OPTIONS", "TRACE", "CONNECT", "delete"):
        assert knock(door, method, "/api/studies/1", "the-reading-one")[0] == 403
    assert len(bench.storage.get_all_studies()) == 1


def test_the_full_password_may_change_and_so_may_this_machine(parts: tuple[Any, Any], bench: Any, knock: Ask) -> None:
    assert knock(require_auth(parts[0], Passwords()), "DELETE", "/api/studies/7")[0] != 403
    status, _, _ = knock(require_auth(parts[0], BOTH), "DELETE", "/api/studies/1", "the-full-one", HOST="dash.lab")
    assert status == 204
    assert not bench.storage.get_all_studies()


@pytest.mark.parametrize("passwords", [Passwords(), BOTH], ids=["this machine", "passwords"])
@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),  # a script
        ({"ORIGIN": "http://127.0.0.1:8080"}, False),
        ({"ORIGIN": "http://evil.example"}, True),
        ({"ORIGIN": "http://127.0.0.1:9999"}, True),
        ({"ORIGIN": "null"}, True),
        ({"ORIGIN": "http://127.0.0.1:8080.evil.example"}, True),
        ({"SEC_FETCH_SITE": "same-origin", "ORIGIN": "https://dash.lab"}, False),  # a proxy that changes Host
        ({"SEC_FETCH_SITE": "cross-site"}, True),
        ({"SEC_FETCH_SITE": "same-site", "ORIGIN": "http://127.0.0.1:8080"}, True),
        ({"ORIGIN": "https://dash.lab", "X_FORWARDED_HOST": "dash.lab"}, False),
        ({"ORIGIN": "https://evil.example", "X_FORWARDED_HOST": "dash.lab"}, True),
    ],
)
def test_a_foreign_page_changes_nothing(
    passwords: Passwords, headers: dict[str, str], refused: bool, parts: tuple[Any, Any], knock: Ask
) -> None:
    door = require_auth(parts[0], passwords)
    status, _, _ = knock(door, "DELETE", "/api/studies/7", passwords.full, **headers)
    assert (status == 403) == refused


@pytest.mark.parametrize(
    ("host", "answers"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("LocalHost:1", True),
        ("[::1]:8080", True),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_without_a_password_a_name_that_is_not_this_machine_is_refused(
    host: str, answers: bool, parts: tuple[Any, Any], knock: Ask
) -> None:
    """A page that has its own name point at 127.0.0.1 would be of the same origin."""
    door = require_auth(parts[0], Passwords())
    assert knock(door, path="/api/meta", HOST=host)[0] == (200 if answers else 403)
    assert knock(door, path="/api/meta", HOST="evil.example", X_FORWARDED_HOST="localhost")[0] == 403


def test_any_other_host_than_this_machine_demands_a_password(drivebeat: Any) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "lab-server"):
        with pytest.raises(ConfigError, match="--password-file"):
            check_open(host, Passwords())
        check_open(host, Passwords(read="only-reading"))
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        assert is_loopback(host)
        check_open(host, Passwords())
    said = drivebeat("dashboard", "--host", "0.0.0.0", "--port", "0")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "--password-file" in said.err


def test_passwords_come_from_the_file_else_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text("# ours\nfull:  with: colons \nread: look-only\n")
    environment = {"DRIVEBEAT_DASHBOARD_PASSWORD": "from-outside", "DRIVEBEAT_DASHBOARD_READ_PASSWORD": ""}
    assert find_passwords(file, environment) == Passwords("with: colons", "look-only")
    assert find_passwords(None, environment) == Passwords("from-outside", None)
    assert not find_passwords(None, {}).any


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("hush-hush-hush", "line 1: it must be"),
        ("full: hush-hush\nfull: hush-hush", "line 2"),
        ("full: hush", "4 characters; at least 8"),
        ("full: hush-hush\nread: hush-hush", "are the same"),
    ],
)
def test_a_password_file_that_is_wrong_is_told_without_its_passwords(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as told:
        find_passwords(file, {})
    assert "hush" not in str(told.value)
    with pytest.raises(ConfigError, match="No such file"):
        find_passwords(tmp_path / "missing", {})
    assert "hush" not in repr(Passwords("hush-hush-hush"))


@given(st.text(max_size=40))
def test_no_other_text_opens_the_door(text: str) -> None:
    expected = {"the-full-one": "full", "the-reading-one": "read"}.get(text)
    assert BOTH.role_of(text) == expected
    assert Passwords().role_of(text) is None
