"""Switches and secrets of trackers and messages, read from the environment or the file .env. All are optional."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from training.errors import ConfigError

DOTENV = Path(".env")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
MIN_SECRET_CHARACTERS = 4  # masking shorter texts would hide large parts of every line


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches; docs/guide/running.md explains each. The defaults are those of an empty environment.

    stdout: None leaves the choice to each command.
    mlflow: the variables MLFLOW_...

    `repr` does not show the secrets.

    Raises ConfigError if Discord is switched on without an address.
    """

    stdout: bool | None = None
    remote: bool = True
    trackers: tuple[str, ...] = ()
    trial_logs: Path = Path("runs/trials")
    neptune: bool = False
    neptune_weights: bool = False
    neptune_project: str = ""
    neptune_token: str = field(default="", repr=False)
    discord: bool = False
    discord_webhook: str = field(default="", repr=False)
    messages: tuple[str, ...] = field(default=(), repr=False)
    mlflow: Mapping[str, str] = field(default_factory=dict, repr=False)
    only_first_batch: bool = False

    def __post_init__(self) -> None:
        if self.discord and not self.discord_webhook:
            raise ConfigError(
                "DISCORD_LOGGING is on, but DISCORD_WEBHOOK_URL is not set; set it, or switch the first off"
            )

    @property
    def message_urls(self) -> tuple[str, ...]:
        """Return the addresses of messages as apprise URLs; none if REMOTE_LOGGING is off."""
        urls = (*((self.discord_webhook,) if self.discord else ()), *self.messages)
        return urls if self.remote else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the texts that must be masked in every line, the longest first."""
        found = {self.neptune_token}
        for url in (self.discord_webhook, *self.messages):
            found |= {url, url.partition("://")[2], urlsplit(url).path.strip("/"), *urlsplit(url).path.split("/")[-2:]}
            found |= {_password(url)}
        found |= {value for name, value in self.mlflow.items() if name.endswith(("PASSWORD", "TOKEN"))}
        found |= {_password(self.mlflow.get("MLFLOW_TRACKING_URI", ""))}
        return tuple(sorted((text for text in found if len(text) >= MIN_SECRET_CHARACTERS), key=len, reverse=True))


def _password(url: str) -> str:
    """Return the password in a URL; "" if there is none."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def mask(text: str, secrets: Sequence[str]) -> str:
    """Return `text` with every secret replaced by ***."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def masking(log: Callable[[str], None], secrets: Sequence[str]) -> Callable[[str], None]:
    """Return `log` with the secrets masked in every line."""
    return lambda line: log(mask(line, secrets))


def read_switches(environment: Mapping[str, str] | None = None, dotenv: Path = DOTENV) -> Switches:
    """Read the switches from the environment; variables not set there are taken from the file .env, if it exists.

    environment: None takes os.environ. An empty value counts as not set.

    Raises ConfigError for a switch that is neither on nor off, and for a file that cannot be read.
    """
    given = {**_from_file(dotenv), **(os.environ if environment is None else environment)}
    given = {name: value.strip() for name, value in given.items() if value.strip()}
    stdout = given.get("STDOUT_LOGGING")
    return Switches(
        stdout=None if stdout is None else _switch(given, "STDOUT_LOGGING", False),
        remote=_switch(given, "REMOTE_LOGGING", True),
        trackers=_list(given.get("DRIVEBEAT_TRACKERS", "")),
        trial_logs=Path(given.get("DRIVEBEAT_TRIAL_LOGS", "runs/trials")),
        neptune=_switch(given, "NEPTUNE_LOGGING", False),
        neptune_weights=_switch(given, "NEPTUNE_SAVE_MODEL_STATE", False),
        neptune_project=given.get("NEPTUNE_PROJECT_NAME", ""),
        neptune_token=given.get("NEPTUNE_API_TOKEN", ""),
        discord=_switch(given, "DISCORD_LOGGING", False),
        discord_webhook=given.get("DISCORD_WEBHOOK_URL", ""),
        messages=tuple(given.get("DRIVEBEAT_MESSAGES", "").split()),
        mlflow={name: value for name, value in given.items() if name.startswith("MLFLOW_")},
        only_first_batch=_switch(given, "ONLY_FIRST_BATCH", False),
    )


def _from_file(dotenv: Path) -> dict[str, str]:
    """Return the variables in the file; none if it does not exist. Raises ConfigError."""
    if not dotenv.is_file():
        return {}
    try:
        return {name: value or "" for name, value in dotenv_values(dotenv, encoding="utf-8-sig").items()}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{dotenv}: cannot be read as UTF-8 ({error.reason}); save it in that encoding") from error
    except OSError as error:
        raise ConfigError(f"{dotenv}: cannot be read ({error.strerror}); check its permissions") from error


def _switch(given: Mapping[str, str], name: str, default: bool) -> bool:
    """Return whether the switch `name` is on. Raises ConfigError for any other value than on or off."""
    value = given.get(name)
    if value is None:
        return default
    if value.lower() not in TRUE + FALSE:
        raise ConfigError(
            f"{name} is {value!r} (environment or .env); 1 or 0, true or false, yes or no, on or off is needed"
        )
    return value.lower() in TRUE


def _list(text: str) -> tuple[str, ...]:
    """Split a list at its commas and drop empty items."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
