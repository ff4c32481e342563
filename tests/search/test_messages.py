"""Messages: told once, rarely, without secrets; received by an HTTP server that plays Discord."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from optuna.trial import TrialState

from search.messages import BEST_EVERY_S, Message, SentMessages, after_trial, news, send, worker_stopped
from search.queue.slots import claim, close
from search.queue.workers import this_process
from search.trials import RUN
from training.switches import Switches


class Webhook:
    """A server of this machine that takes what Discord would."""

    def __init__(self, status: int = 204) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((self.path, json.loads(body)))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/webhooks/123456/a-long-token"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    yield server
    server.close()


def to(hook: str) -> Switches:
    return Switches(discord=True, discord_webhook=hook)


def finish(bench: Any, study: Any, value: float) -> None:
    """One trial from its slot to its end."""
    held = claim(bench.engine, study.identity, this_process(), 30.0)
    assert held is not None
    trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
    trial.set_user_attr(RUN, "{}")
    study.optuna.tell(trial, value, state=TrialState.COMPLETE)
    close(bench.engine, held, "finished")


def test_a_message_arrives_in_discord_s_shape_and_without_secrets(webhook: Webhook) -> None:
    said: list[str] = []
    assert send(Message("drivebeat: demo", f"best +1.0, see {webhook.url}"), to(webhook.url), said.append)
    ((path, body),) = webhook.got
    assert path == "/api/webhooks/123456/a-long-token"
    assert "drivebeat: demo" in json.dumps(body)
    assert "best +1.0, see ***" in json.dumps(body)
    assert said == []


@pytest.mark.parametrize("hook", ["http://127.0.0.1:9/api/webhooks/123456/a-long-token", "nonsense://a-long-token"])
def test_a_message_that_cannot_be_sent_is_told_in_a_line_without_its_address(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    assert not send(Message("t", "b"), to(hook), said.append)
    assert len(said) == 1
    assert "could not be sent" in said[0]
    assert "a-long-token" not in " ".join([*said, *caplog.messages])


def test_a_refusing_service_fails_nothing() -> None:
    server = Webhook(status=401)
    try:
        assert not send(Message("t", "b"), to(server.url), lambda line: None)
        assert len(server.got) == 1
    finally:
        server.close()


def test_a_new_best_is_told_at_most_once_in_ten_minutes_and_what_was_held_back_later(
    bench: Any, make_spec: Any
) -> None:
    study = bench.create(make_spec(budget={"trials": 9}))
    finish(bench, study, 1.0)
    sent, (first,) = news(study, bench.engine, SentMessages(), 1000.0)
    assert (first.title, sent.best) == ("drivebeat: new best in tiny", 1.0)
    assert "best si_sdr_db +1.000 (trial 0), after 1 of 9 trials" in first.body
    finish(bench, study, 2.0)
    assert news(study, bench.engine, sent, 1000.0 + BEST_EVERY_S - 1) == (sent, [])
    finish(bench, study, 0.0)
    sent, (second,) = news(study, bench.engine, sent, 1000.0 + BEST_EVERY_S)
    assert "best si_sdr_db +2.000 (trial 1), after 3 of 9 trials" in second.body
    assert news(study, bench.engine, sent, 9e9) == (sent, [])


def test_the_end_is_told_once_whoever_comes_to_it(bench: Any, make_spec: Any, webhook: Webhook) -> None:
    study = bench.create(make_spec(budget={"trials": 2}))
    for value in (1.0, 2.0):
        finish(bench, study, value)
    for _ in range(3):
        after_trial(study, bench.engine, to(webhook.url), lambda line: None)
    ((_, body),) = webhook.got
    assert "tiny is done" in json.dumps(body)
    assert "its budget of 2 trials is spent; 2 of 2 trials, best si_sdr_db +2.000 (trial 1)" in json.dumps(body)
    assert "drivebeat export tiny" in json.dumps(body)


def test_without_an_address_nothing_is_kept_of_the_study(bench: Any, make_spec: Any) -> None:
    study = bench.create(make_spec(budget={"trials": 1}))
    finish(bench, study, 1.0)
    after_trial(study, bench.engine, Switches(), lambda line: None)
    assert "drivebeat:messages" not in study.optuna._storage.get_study_system_attrs(study.optuna._study_id)


def test_a_worker_that_gives_up_says_why(webhook: Webhook) -> None:
    worker_stopped("tiny", "3 trials in a row failed: OSError: disk full", to(webhook.url), lambda line: None)
    assert "3 trials in a row failed: OSError: disk full" in json.dumps(webhook.got[0][1])
