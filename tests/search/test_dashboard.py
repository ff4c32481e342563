"""The dashboard over real HTTP: studies, a trial's artifact, a busy port; it listens on this machine alone."""

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from search.dashboard.server import bound
from tests.support.program import command, environment
from training.errors import ConfigError


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as answer:
        body: bytes = answer.read()
        return body


@pytest.fixture
def served(bench: Any, make_spec: Any, tmp_path: Path) -> Iterator[tuple[str, str, int]]:
    """A dashboard in a process of its own: its address, an artifact's path in it, and its port."""
    study = bench.create(make_spec())
    trial = study.optuna.ask()
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "note.txt").write_text("a sound")
    store = FileSystemArtifactStore(str(tmp_path / "artifacts"))
    identifier = upload_artifact(artifact_store=store, file_path=str(tmp_path / "note.txt"), study_or_trial=trial)
    server = subprocess.Popen(
        command("dashboard", "--port", "0"),
        cwd=tmp_path,
        env=environment(DRIVEBEAT_STORAGE=bench.url, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/dashboard/", said)
        assert found, (said, server.stderr)
        assert f"database {bench.url[10:]}, artifacts {tmp_path / 'artifacts'} at " in said
        port = int(found[1])
        yield f"http://127.0.0.1:{port}", f"/artifacts/{study.optuna._study_id}/{trial._trial_id}/{identifier}", port
    finally:
        server.kill()
        server.communicate()


@pytest.mark.slow
def test_the_dashboard_shows_studies_and_artifacts_and_keeps_its_port(
    served: tuple[str, str, int], bench: Any, cli: Any, tmp_path: Path
) -> None:
    address, artifact, port = served
    assert b"<html" in fetch(f"{address}/dashboard/").lower()
    studies = json.loads(fetch(f"{address}/api/studies"))["study_summaries"]
    assert [study["study_name"] for study in studies] == ["tiny"]
    assert fetch(address + artifact) == b"a sound"

    busy = cli("dashboard", "--port", str(port), "--storage", bench.url)
    assert (busy.returncode, busy.stderr.count("\n")) == (2, 1), busy.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in busy.stderr
    assert "choose another --port" in busy.stderr

    listening = Path("/proc/net/tcp")
    if listening.exists():  # 0100007F is 127.0.0.1, state 0A is listening
        rows = [line.split() for line in listening.read_text().splitlines()[1:]]
        addresses = {row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
        assert addresses == {f"0100007F:{port:04X}"}


def test_an_address_that_is_not_ours_is_told_in_one_line(drivebeat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVEBEAT_DASHBOARD_PASSWORD", "hush-hush-hush")
    said = drivebeat("dashboard", "--host", "192.0.2.1", "--port", "0")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "cannot listen on 192.0.2.1:0" in said.err


def test_a_port_beyond_the_last_is_refused(drivebeat: Any) -> None:
    assert drivebeat("dashboard", "--port", "70000").code == 2


def test_a_database_that_does_not_answer_is_told_and_the_port_is_free_again(drivebeat: Any) -> None:
    with bound("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    said = drivebeat("dashboard", "--storage", "postgresql://me:hush@127.0.0.1:1/x", "--port", str(port))
    assert said.code == 2
    assert "is it running and reachable?" in said.err
    assert "hush" not in said.err
    with bound("127.0.0.1", port) as again:
        assert again.getsockname() == ("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken_is_told_and_a_name_means_ipv4_first(host: str) -> None:
    with bound(host, 0) as taken:
        assert taken.family == socket.AF_INET
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=rf"cannot listen on {host}:{port}: .*in use; choose another"),
            bound(host, port),
        ):
            pass
