"""The door: nobody without a password but on this machine, nothing changed by readers or foreign pages."""

import base64
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.artifacts import FileSystemArtifactStore

from search.cli.service import dashboard_command
from search.dashboard.attempts import LOOPBACK, MAX_KNOWN, PER_CLIENT, TOTAL, Attempts, client_of, parse_proxies
from search.dashboard.auth import Auth, Passwords, check_open, find_passwords, is_loopback, require_auth
from search.dashboard.connections import MAX_UPLOAD_MIB
from search.dashboard.server import build, stock
from search.dashboard.storage import PageStorage
from search.storage.open import open_storage
from tests.support.dashboard import Answer, send
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
            headers["AUTHORIZATION"] = basic(password)
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
    door = require_auth(parts[0], Auth(BOTH, Attempts(per_client=10**6, total=10**6)))
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
    door = require_auth(parts[0], Auth(BOTH))
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
    assert knock(require_auth(parts[0], Auth(Passwords())), "DELETE", "/api/studies/7")[0] != 403
    status, _, _ = knock(
        require_auth(parts[0], Auth(BOTH)), "DELETE", "/api/studies/1", "the-full-one", HOST="dash.lab"
    )
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
        ({"ORIGIN": "http://["}, True),
        ({"ORIGIN": "http://[::1"}, True),
        ({"ORIGIN": ""}, True),
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
    door = require_auth(parts[0], Auth(passwords))
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
    door = require_auth(parts[0], Auth(Passwords()))
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
    file.chmod(0o600)
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
    file.chmod(0o600)
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


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o611])
def test_a_password_file_that_others_can_read_or_change_is_refused(drivebeat: Any, tmp_path: Path, mode: int) -> None:
    file = tmp_path / "pass words"
    file.write_text("full: hush-hush-hush\n")
    file.chmod(mode)
    said = drivebeat("dashboard", "--port", "0", "--password-file", str(file))
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert f"mode {mode:04o}, allowed is 0600" in said.err
    assert f"run: chmod 600 '{file}'" in said.err
    assert "hush" not in said.err
    file.chmod(0o400)
    assert find_passwords(file, {}) == Passwords("hush-hush-hush")


def test_a_password_from_the_environment_that_is_no_text_is_refused() -> None:
    """Python holds bytes that are not UTF-8 as lone surrogates, which no client can send."""
    with pytest.raises(ConfigError, match="for read is not UTF-8 text"):
        find_passwords(None, {"DRIVEBEAT_DASHBOARD_READ_PASSWORD": "hush-hush-\udcff"})


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_after_too_many_wrong_passwords_a_client_waits_and_another_does_not(
    parts: tuple[Any, Any], clock: Clock
) -> None:
    door = require_auth(parts[0], Auth(BOTH, Attempts(clock=clock)))

    def ask_as(client: str, password: str | None) -> Answer:
        login: dict[str, Any] = {} if password is None else {"HTTP_AUTHORIZATION": basic(password)}
        return send(door, "GET", "/api/meta", HTTP_X_FORWARDED_FOR=client, HTTP_HOST="dash.lab", **login)

    attacker, user = "203.0.113.7", "203.0.113.8"
    for number in range(PER_CLIENT):
        clock.now_s += 1
        assert ask_as(attacker, f"wrong-{number}").status == 401
    clock.now_s += 0.5
    for password in ("wrong-again", "the-full-one"):
        answer = ask_as(attacker, password)
        assert (answer.status, answer.headers["retry-after"]) == (429, "51"), "the first was 9.5 s ago, of 60 s"
        assert answer.body == b"too many wrong passwords; wait 51 s\n"
    assert ask_as(attacker, None).status == 401, "a browser asks its user for the password"
    for right, status in (("the-full-one", 200), ("wrong", 401), ("the-reading-one", 200)):
        assert ask_as(user, right).status == status
    clock.now_s += 51
    assert ask_as(attacker, "the-full-one").status == 200


def test_a_right_password_does_not_buy_more_wrong_ones(clock: Clock) -> None:
    """Whoever may read must not be able to guess the full password."""
    auth = Auth(BOTH, Attempts(clock=clock))
    statuses = []
    for password in ["the-reading-one", "guess"] * (PER_CLIENT + 1):
        refusal = auth.refusal(environ_of(password, "203.0.113.7"))
        statuses.append("200" if refusal is None else refusal.status[:3])
    assert statuses == ["200", "401"] * PER_CLIENT + ["429", "429"]


def environ_of(password: str, address: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "REMOTE_ADDR": address, "HTTP_AUTHORIZATION": basic(password)}


def test_guesses_from_many_addresses_are_limited_too_and_known_users_go_on(clock: Clock) -> None:
    auth = Auth(BOTH, Attempts(clock=clock))
    assert auth.refusal(environ_of("the-full-one", "198.51.100.1")) is None
    statuses = [
        refusal.status[:3]
        for number in range(TOTAL + 50)
        if (refusal := auth.refusal(environ_of("wrong", f"10.0.{number // 250}.{number % 250}"))) is not None
    ]
    assert statuses == ["401"] * TOTAL + ["429"] * 50
    assert auth.refusal(environ_of("the-full-one", "198.51.100.1")) is None
    stranger = auth.refusal(environ_of("the-full-one", "198.51.100.2"))
    assert stranger is not None
    assert stranger.status[:3] == "429"


def test_the_memory_for_attempts_is_bounded(clock: Clock) -> None:
    attempts = Attempts(clock=clock)
    auth = Auth(BOTH, attempts)
    addresses = [f"10.0.{number // 250}.{number % 250}" for number in range(3 * MAX_KNOWN)]
    assert not any(auth.refusal(environ_of("the-full-one", address)) for address in addresses)
    for address in addresses:
        for _ in range(PER_CLIENT + 5):
            assert auth.refusal(environ_of("wrong", address)) is not None
    assert len(attempts._known) <= MAX_KNOWN
    assert len(attempts._wrong) <= TOTAL + MAX_KNOWN * PER_CLIENT
    clock.now_s += 61
    auth.refusal(environ_of("wrong", "10.1.0.1"))
    assert len(attempts._wrong) == 1


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # no proxy: the header is the client's own claim
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),  # the client claims 1.2.3.4
        ("127.0.0.1", "198.51.100.1, 172.18.0.1", "198.51.100.1"),  # two proxies
        ("172.18.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", ",,,", "127.0.0.1"),
        ("127.0.0.1", "[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::5", "", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("::ffff:203.0.113.7", "", "203.0.113.7"),
        ("", "", ""),
    ],
)
def test_the_client_is_named_by_trusted_proxies_only(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded, parse_proxies(["172.18.0.0/16"])) == client


@given(st.text(max_size=40), st.text(max_size=80))
def test_any_text_has_a_client(peer: str, forwarded: str) -> None:
    assert isinstance(client_of(peer, forwarded, LOOPBACK), str)


def test_a_proxy_that_is_no_address_and_a_limit_that_is_no_number_are_refused(drivebeat: Any) -> None:
    said = drivebeat("dashboard", "--port", "0", "--trusted-proxy", "nginx")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "--trusted-proxy: 'nginx'" in said.err
    assert "write an address such as 172.18.0.1" in said.err
    assert inspect.signature(dashboard_command).parameters["max_upload"].default == MAX_UPLOAD_MIB
    for limit in ("0", "129", "much"):
        assert drivebeat("dashboard", "--port", "0", "--max-upload", limit).code == 2


@given(
    st.sampled_from(["AUTHORIZATION", "ORIGIN", "HOST", "X_FORWARDED_HOST", "X_FORWARDED_FOR", "SEC_FETCH_SITE"]),
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.sampled_from([BOTH, Passwords()]),
    st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
)
def test_any_header_is_refused_or_allowed_without_an_error(
    name: str, value: str, passwords: Passwords, method: str
) -> None:
    refusal = Auth(passwords).refusal({"REQUEST_METHOD": method, f"HTTP_{name}": value})
    assert refusal is None or 400 <= int(refusal.status[:3]) < 500
    for prefix in ("Basic ", "http://", "["):
        refusal = Auth(passwords).refusal({"REQUEST_METHOD": method, f"HTTP_{name}": prefix + value})
        assert refusal is None or 400 <= int(refusal.status[:3]) < 500
