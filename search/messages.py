"""Send messages to people by apprise: a study is done, has a new best trial or has stalled, or workers fail.

Each message is sent once, however many workers there are: the database holds what was sent about a study. A message
that cannot be sent is logged in one line and dropped. No message and no log line holds a secret.
"""

import json
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine

from data.errors import shell_command
from search.queue.slots import progress
from search.storage.locks import exclusive
from search.study.finished import stop_reason
from search.study.study import Study
from search.trials import MESSAGES, best_trial
from training.evaluation.scores import SCORES, better
from training.switches import Switches, mask

BEST_EVERY_S = 600.0
LOCK_EXPIRES_S = 60.0
TIMEOUT_S = 5.0
Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SentMessages:
    """The messages sent about a study.

    best: the best value that was sent, None before the first.
    best_at: when it was sent, in seconds since 1970.
    finished: whether the end of the study was sent.
    """

    best: float | None = None
    best_at: float = 0.0
    finished: bool = False

    @classmethod
    def decode(cls, text: str) -> "SentMessages":
        """Return the value that `encode` wrote, from a study's attribute."""
        stored = json.loads(text)
        return cls(stored.get("best"), stored.get("best_at", 0.0), stored.get("over", False))

    def encode(self) -> str:
        """Return the value of a study's attribute. Its key "over" stands for `finished`, as in existing databases."""
        return json.dumps({"best": self.best, "best_at": self.best_at, "over": self.finished})


@dataclass(frozen=True, slots=True)
class Message:
    """A title, and a body of one or two lines."""

    title: str
    body: str


def after_trial(study: Study, engine: Engine, switches: Switches, log: Log) -> None:
    """Send what the end of a trial changed: a new best trial, at most once in BEST_EVERY_S; the end of the study, once.

    Does nothing where `switches` name no address.
    """
    if not switches.message_urls:
        return
    with exclusive(engine, f"messages {study.identity}", expires_s=LOCK_EXPIRES_S):
        storage, study_id = study.optuna._storage, study.optuna._study_id
        before = SentMessages.decode(storage.get_study_system_attrs(study_id).get(MESSAGES, "{}"))
        sent, messages = news(study, engine, before, time.time())
        if sent != before:  # stored before sending: a worker killed in between loses a message and repeats none
            storage.set_study_system_attr(study_id, MESSAGES, sent.encode())
    for message in messages:
        send(message, switches, log)


def news(study: Study, engine: Engine, before: SentMessages, now: float) -> tuple[SentMessages, list[Message]]:
    """Return the messages to send about a study, and what will have been sent with them.

    before: what was sent earlier.
    now: the time in seconds since 1970.
    """
    best, reason = best_trial(study.optuna), stop_reason(study, engine)
    state = progress(engine, study.identity)
    counts = f"{state.finished} of {state.budget} trials"
    result = f"best {study.spec.metric} {best.value:+.3f} (trial {best.number})" if best else "no complete trial"
    if reason:
        if before.finished:
            return before, []
        body = f"{reason}; {counts}, {result}. Next: {shell_command('export', study.name, '-o', 'best.yaml')}"
        value = best.value if best else None
        return SentMessages(value, now, finished=True), [Message(f"drivebeat: {study.name} is done", body)]
    if best is None or best.value is None:
        return before, []
    is_new = before.best is None or better(SCORES[study.spec.metric], best.value, before.best)
    if not is_new or now - before.best_at < BEST_EVERY_S:
        return before, []  # a best trial that is held back here is sent when a later trial ends
    return SentMessages(best.value, now), [Message(f"drivebeat: new best in {study.name}", f"{result}, after {counts}")]


def worker_failed(study: str, reason: str, number: int, switches: Switches, log: Log) -> None:
    """Send that trial `number` was failed because its workers died."""
    send(Message(f"drivebeat: workers die in {study}", f"trial {number} failed: {reason}"), switches, log)


def worker_stopped(studies: str, reason: str, switches: Switches, log: Log) -> None:
    """Send that a worker gave up after several failures in a row."""
    send(Message(f"drivebeat: a worker of {studies} gave up", reason), switches, log)


def stalled(studies: str, reason: str, switches: Switches, log: Log) -> None:
    """Send that a search ended before its budget was spent."""
    send(Message(f"drivebeat: {studies} has stalled", reason), switches, log)


def run_failed(run: str, reason: str, switches: Switches, log: Log) -> None:
    """Send that a training failed."""
    send(Message(f"drivebeat: training of {run} failed", reason), switches, log)


def send(message: Message, switches: Switches, log: Log) -> bool:
    """Send `message` to every address and return whether all were sent. Never raises for an error of a service.

    log: gets a line for each address that the message could not be sent to.
    """
    done = True
    for url in switches.message_urls:
        reason = ""
        try:
            sent = _notify(url, mask(message.title, switches.secrets), mask(message.body, switches.secrets))
        except Exception as error:  # an error of a service, of whatever class, must not end the search
            sent, reason = False, f" ({type(error).__name__}: {error})"[:300]
        if not sent:
            line = f"a message could not be sent to {_shown(url)}{reason}; check the address and the network"
            log(mask(line, switches.secrets))
            done = False
    return done


def _notify(url: str, title: str, body: str) -> bool:
    """Send one message to one address and return whether it was sent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation warnings of apprise's imports
        import apprise

        # log lines of both hold addresses, which are secret; `send` logs failures without them
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.WARNING)
        plugin = _discord(url) or apprise.Apprise.instantiate(url)
        if plugin is None:
            return False
        plugin.socket_connect_timeout = plugin.socket_read_timeout = TIMEOUT_S
        return bool(plugin.notify(body=body, title=title))


def _discord(url: str) -> Any:
    """Return apprise's plugin for a webhook with Discord's path on any host; None for another address."""
    parts = urlsplit(url)
    steps = parts.path.strip("/").split("/")
    if parts.scheme not in ("http", "https") or steps[:2] != ["api", "webhooks"] or len(steps) < 4:
        return None
    from apprise.plugins.discord import NotifyDiscord

    plugin = NotifyDiscord(webhook_id=steps[2], webhook_token=steps[3], avatar=False)
    plugin.notify_url = f"{parts.scheme}://{parts.netloc}/api/webhooks"
    return plugin


def _shown(url: str) -> str:
    """Return an address without its secret parts."""
    parts = urlsplit(url)
    has_host = parts.scheme in ("http", "https") and parts.hostname
    return f"{parts.scheme}://{parts.hostname}/***" if has_host else f"{parts.scheme}://***"
