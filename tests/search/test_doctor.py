"""`drivebeat doctor`: what is ok, a warning or broken, each with a fix; exit code 0 or 1."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from search.doctor import Check, checks_document, examine


def by_name(checks: list[Check], state: str) -> dict[str, Check]:
    return {check.name: check for check in checks if check.state == state}


def test_all_is_ok_in_a_new_folder_and_nothing_is_made_there(drivebeat: Any, tmp_path: Path) -> None:
    said = drivebeat("doctor")
    assert said.code == 0, said
    assert max(map(len, said.out.splitlines())) <= 80
    assert "studies.db does not exist yet" in " ".join(said.out.split())
    assert list(tmp_path.iterdir()) == []


def test_a_study_s_recordings_are_read_and_found_changed(
    drivebeat: Any, study_file: Callable[..., Path], data_section: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study_file()
    assert drivebeat("create", str(path)).code == 0
    for study in ("tiny", str(path)):
        found = json.loads(drivebeat("doctor", study, "--json").out)
        assert found["ok"]
        assert {check["name"] for check in found["checks"]} >= {"python", "packages", "storage", "clock", "recordings"}
    monkeypatch.setattr("data.corpus.load", lambda config: type("Other", (), {"fingerprint": "f00", "n_channels": 1}))
    said = drivebeat("doctor", "tiny")
    assert said.code == 1
    assert "fingerprint f00, but the study was created on" in " ".join(said.out.split())
    assert "-> restore the recordings" in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hush@127.0.0.1:1/x", "running and reachable"),
        ("nonsense", "write it like sqlite:///studies.db"),
        ("sqlite:////proc/nowhere/studies.db", ""),
    ],
)
def test_a_database_that_cannot_be_opened_is_a_finding_without_its_password(
    url: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checks = examine(url, "artifacts", None)
    if words:
        assert words in by_name(checks, "broken")["storage"].fix
    assert "hush" not in json.dumps(checks_document(checks))


def test_a_clock_that_differs_and_mlflow_s_tables_are_warnings(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.doctor.database_time", lambda connection: 0.0)
    with bench.engine.begin() as connection:
        for name in ("experiments", "registered_models"):
            connection.execute(text(f"CREATE TABLE {name} (x INTEGER)"))
    warnings = by_name(examine(bench.url, "artifacts", None), "warning")
    assert "NTP" in warnings["clock"].fix
    assert "separate database" in warnings["storage"].fix


def test_too_little_room_is_broken_and_little_room_a_warning(bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for free, state in ((2**20, "broken"), (2 * 2**30, "warning"), (50 * 2**30, "ok")):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: type("Usage", (), {"free": free}))
        assert "disk" in by_name(examine(bench.url, "artifacts", None), state)


def test_a_switch_that_is_neither_on_nor_off_and_a_tracker_that_cannot_be_had_are_findings(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow itself sets it, in tests before this
    (tmp_path / ".env").write_text("REMOTE_LOGGING=perhaps\n")
    assert "REMOTE_LOGGING is 'perhaps'" in by_name(examine(bench.url, "artifacts", None), "broken")["trackers"].found
    (tmp_path / ".env").write_text("DRIVEBEAT_TRACKERS=mlflow\nONLY_FIRST_BATCH=1\n")
    checks = examine(bench.url, "artifacts", None)
    assert "mlflow" in by_name(checks, "broken")["trackers"].found
    assert "ONLY_FIRST_BATCH" in by_name(checks, "warning")["training"].fix
