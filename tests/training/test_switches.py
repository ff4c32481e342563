"""Switches and secrets: from the environment, else from .env, else off; and no secret in any line."""

from pathlib import Path

import pytest

from training.errors import ConfigError
from training.switches import Switches, mask, masking, read_switches

HOOK = "https://discord.com/api/webhooks/123456/a-long-token"


def test_with_neither_environment_nor_file_all_is_at_its_default(tmp_path: Path) -> None:
    assert read_switches({}, tmp_path / ".env") == Switches()


def test_every_switch_of_the_lab_is_read_from_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "STDOUT_LOGGING=True\nREMOTE_LOGGING=1\nNEPTUNE_LOGGING=yes\nNEPTUNE_SAVE_MODEL_STATE=on\n"
        "NEPTUNE_PROJECT_NAME=lab/heart\nNEPTUNE_API_TOKEN='abc='\nDISCORD_LOGGING=true\n"
        f"DISCORD_WEBHOOK_URL={HOOK}\nONLY_FIRST_BATCH=TRUE\nPOSTGRES_PASSWORD=other\n"
    )
    assert read_switches({}, tmp_path / ".env") == Switches(
        stdout=True,
        neptune=True,
        neptune_weights=True,
        neptune_project="lab/heart",
        neptune_token="abc=",
        discord=True,
        discord_webhook=HOOK,
        only_first_batch=True,
    )


def test_the_environment_goes_before_the_file_and_empty_is_not_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ONLY_FIRST_BATCH=1\nDISCORD_LOGGING=\nDRIVEBEAT_TRACKERS=mlflow\n")
    read = read_switches({"ONLY_FIRST_BATCH": "0", "DRIVEBEAT_TRACKERS": "jsonl, tensorboard"}, tmp_path / ".env")
    assert read == Switches(trackers=("jsonl", "tensorboard"))


@pytest.mark.parametrize("name", ["STDOUT_LOGGING", "REMOTE_LOGGING", "NEPTUNE_LOGGING", "ONLY_FIRST_BATCH"])
def test_a_switch_that_is_neither_on_nor_off_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is 'perhaps' \(environment or \.env\); 1 or 0"):
        read_switches({name: "perhaps"}, tmp_path / ".env")


def test_discord_without_its_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DISCORD_WEBHOOK_URL is not set"):
        read_switches({"DISCORD_LOGGING": "1"}, tmp_path / ".env")


def test_nothing_leaves_the_machine_with_remote_logging_off(tmp_path: Path) -> None:
    given = {"DISCORD_LOGGING": "1", "DISCORD_WEBHOOK_URL": HOOK, "DRIVEBEAT_MESSAGES": "slack://a/b/c mailto://x:y@z"}
    assert read_switches(given, tmp_path / ".env").message_urls == (HOOK, "slack://a/b/c", "mailto://x:y@z")
    assert read_switches({**given, "REMOTE_LOGGING": "0"}, tmp_path / ".env").message_urls == ()


def test_neither_lines_nor_repr_hold_a_secret() -> None:
    switches = Switches(
        neptune_token="eyJhcGk",
        discord_webhook=HOOK,
        messages=("mailto://me:pass-word@example.org",),
        mlflow={"MLFLOW_TRACKING_URI": "https://u:hush-hush@host", "MLFLOW_TRACKING_PASSWORD": "very-secret"},
    )
    said: list[str] = []
    say = masking(said.append, switches.secrets)
    for line in (f"POST {HOOK}", "/api/webhooks/123456/a-long-token", "a-long-token", "eyJhcGk", "pass-word"):
        say(f"failed: {line} !")
    say("hush-hush very-secret")
    for secret in ("a-long-token", "123456", "eyJhcGk", "pass-word", "hush-hush", "very-secret"):
        assert secret not in " ".join(said)
        assert secret not in repr(switches)
    assert mask("nothing to hide", switches.secrets) == "nothing to hide"
