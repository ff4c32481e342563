"""Messages to people: a study is done, has a new best or stands still, workers fail. By apprise, to wherever it speaks.

Each is sent once, however many workers there are: what was told of a study is kept beside it in the database. A message
that cannot be sent is told in one line and forgotten; no message and no line holds a secret.
"""

import json
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine

from search.queue.slots import progress
from search.storage.locks import exclusive
from search.study.finished import stop_reason
from search.study.study import Study
from search.trials import MESSAGES, best_trial
from training.evaluation.scores import SCORES, better
from training.switches import Switches, mask

BEST_EVERY_S = 600.0
TURN_S = 60.0
PATIENCE_S = 5.0
Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Told:
    """What people have been told of a study. best_at: when, in seconds since 1970."""

    best: float | None = None
    best_at: float = 0.0
    over: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A title and a line or two."""

    title: str
    body: str


def after_trial(study: Study, engine: Engine, switches: Switches, log: Log) -> None:
    """Tell what a trial's end has changed: a new best, at most one in ten minutes; the study's end, once."""
    if not switches.message_urls:
        return
    with exclusive(engine, f"messages {study.name}", expires_s=TURN_S):
        storage, study_id = study.optuna._storage, study.optuna._study_id
        before = Told(**json.loads(storage.get_study_system_attrs(study_id).get(MESSAGES, "{}")))
        told, messages = news(study, engine, before, time.time())
        if told != before:  # noted first: a worker killed in between tells nobody, rather than everybody twice
            storage.set_study_system_attr(study_id, MESSAGES, json.dumps(asdict(told)))
    for message in messages:
        send(message, switches, log)


def news(study: Study, engine: Engine, before: Told, now: float) -> tuple[Told, list[Message]]:
    """What there is to tell of a study at the time `now`, and what will have been told then."""
    best, over = best_trial(study.optuna), stop_reason(study, engine)
    state = progress(engine, study.name)
    counted = f"{state.finished} of {state.budget} trials"
    found = f"best {study.spec.metric} {best.value:+.3f} (trial {best.number})" if best else "no complete trial"
    if over:
        if before.over:
            return before, []
        body = f"{over}; {counted}, {found}. Next: drivebeat export {study.name} -o best.yaml"
        value = best.value if best else None
        return Told(value, now, over=True), [Message(f"drivebeat: {study.name} is done", body)]
    if best is None or best.value is None:
        return before, []
    is_new = before.best is None or better(SCORES[study.spec.metric], best.value, before.best)
    if not is_new or now - before.best_at < BEST_EVERY_S:
        return before, []  # what is held back now is told by the first trial that ends later
    return Told(best.value, now), [Message(f"drivebeat: new best in {study.name}", f"{found}, after {counted}")]


def worker_failed(study: str, reason: str, number: int, switches: Switches, log: Log) -> None:
    """Tell that a trial took its workers with it."""
    send(Message(f"drivebeat: workers die in {study}", f"trial {number} failed: {reason}"), switches, log)


def worker_stopped(studies: str, reason: str, switches: Switches, log: Log) -> None:
    """Tell that a worker gave up, after failures in a row."""
    send(Message(f"drivebeat: a worker of {studies} gave up", reason), switches, log)


def stalled(studies: str, reason: str, switches: Switches, log: Log) -> None:
    """Tell that a search ended before its budget was spent."""
    send(Message(f"drivebeat: {studies} stands still", reason), switches, log)


def run_failed(run: str, reason: str, switches: Switches, log: Log) -> None:
    """Tell that a training failed."""
    send(Message(f"drivebeat: training of {run} failed", reason), switches, log)


def send(message: Message, switches: Switches, log: Log) -> bool:
    """Send to every address; whether all took it. Never raises for what a service does."""
    done = True
    for url in switches.message_urls:
        why = ""
        try:
            sent = _notify(url, mask(message.title, switches.secrets), mask(message.body, switches.secrets))
        except Exception as error:  # whatever a service's library raises, the search goes on
            sent, why = False, f" ({type(error).__name__}: {error})"[:300]
        if not sent:
            line = f"a message could not be sent to {_shown(url)}{why}; is the address right, and reachable from here?"
            log(mask(line, switches.secrets))
            done = False
    return done


def _notify(url: str, title: str, body: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what apprise's own imports use
        import apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines hold addresses; ours say what is needed
        logging.getLogger("urllib3.connectionpool").setLevel(logging.WARNING)  # as do those
        plugin = _discord(url) or apprise.Apprise.instantiate(url)
        if plugin is None:
            return False
        plugin.socket_connect_timeout = plugin.socket_read_timeout = PATIENCE_S
        return bool(plugin.notify(body=body, title=title))


def _discord(url: str) -> Any:
    """The sender for a webhook in Discord's shape, wherever it is; None for another address."""
    parts = urlsplit(url)
    steps = parts.path.strip("/").split("/")
    if parts.scheme not in ("http", "https") or steps[:2] != ["api", "webhooks"] or len(steps) < 4:
        return None
    from apprise.plugins.discord import NotifyDiscord

    sender = NotifyDiscord(webhook_id=steps[2], webhook_token=steps[3], avatar=False)
    sender.notify_url = f"{parts.scheme}://{parts.netloc}/api/webhooks"
    return sender


def _shown(url: str) -> str:
    """An address without what is secret in it."""
    parts = urlsplit(url)
    named = parts.scheme in ("http", "https") and parts.hostname
    return f"{parts.scheme}://{parts.hostname}/***" if named else f"{parts.scheme}://***"
