"""Switches and secrets of trackers and messages, from the environment or a file .env; none is needed."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from training.errors import ConfigError

DOTENV = Path(".env")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
LEAST_SECRET = 4  # characters: shorter ones would hide half of every line


@dataclass(frozen=True, slots=True)
class Switches:
    """What is switched on. docs/guide/running.md says what each does; the defaults are those of an empty environment.

    stdout: None leaves a command to its own ways. mlflow: the MLFLOW_... variables. The secrets are not shown by repr.
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
        """Where messages go, as apprise's URLs; nowhere with REMOTE_LOGGING off."""
        urls = (*((self.discord_webhook,) if self.discord else ()), *self.messages)
        return urls if self.remote else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no line may hold, the longest first."""
        found = {self.neptune_token}
        for url in (self.discord_webhook, *self.messages):
            found |= {url, url.partition("://")[2], urlsplit(url).path.strip("/"), *urlsplit(url).path.split("/")[-2:]}
            found |= {_password(url)}
        found |= {value for name, value in self.mlflow.items() if name.endswith(("PASSWORD", "TOKEN"))}
        found |= {_password(self.mlflow.get("MLFLOW_TRACKING_URI", ""))}
        return tuple(sorted((text for text in found if len(text) >= LEAST_SECRET), key=len, reverse=True))


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def mask(text: str, secrets: Sequence[str]) -> str:
    """`text` with *** for every secret in it."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def masking(say: Callable[[str], None], secrets: Sequence[str]) -> Callable[[str], None]:
    """`say` for lines without secrets."""
    return lambda line: say(mask(line, secrets))


def read_switches(environment: Mapping[str, str] | None = None, dotenv: Path = DOTENV) -> Switches:
    """The switches of the environment and, for what is not set there, of the file .env, where there is one.

    An empty value is as good as none. Raises ConfigError for a switch that is neither on nor off.
    """
    from_file = {name: value or "" for name, value in dotenv_values(dotenv).items()} if dotenv.is_file() else {}
    given = {**from_file, **(os.environ if environment is None else environment)}
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


def _switch(given: Mapping[str, str], name: str, default: bool) -> bool:
    value = given.get(name)
    if value is None:
        return default
    if value.lower() not in TRUE + FALSE:
        raise ConfigError(
            f"{name} is {value!r} (environment or .env); 1 or 0, true or false, yes or no, on or off is needed"
        )
    return value.lower() in TRUE


def _list(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
