"""`drivebeat workers`: who is alive, where, on what device, at which trial and epoch, and who died."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import update

from search.cli.service import workers_command
from search.queue.workers import Process, WorkerRow, WorkerStatus, register, this_process, update_status, workers
from search.storage.open import open_storage
from search.storage.tables import WORKERS
from search.terminal.status import ago, workers_document, workers_table

LONG = WorkerRow(
    Process(
        "a-very-long-host-name.cluster.example.org:4194304:1", "a-very-long-host-name.cluster.example.org", 4194304, 1
    ),
    "cuda:GPU-5c89852c-d268-8c95 NVIDIA GeForce RTX 3090",
    WorkerStatus("working", "a-study-of-a-long-name-wave_unet_transformer", 12345, 199, -12.345),
    3 * 86_400.0,
    59.9,
)


def drawn(rows: list[WorkerRow]) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as said:
        console.print(workers_table(rows))
    return said.get()


def test_a_line_a_worker_fits_80_columns_and_keeps_what_matters() -> None:
    lines = drawn([LONG]).splitlines()
    assert all(len(line) <= 80 for line in lines)
    (line,) = lines[2:]
    for told in ("4194304@", "cuda:GPU", "working", "12345", "200", "-12.35", "59 s"):
        assert told in line


def test_alive_stopped_and_died_are_told_apart(bench: Any) -> None:
    """A dead process of this host is seen at once, another host's once its lease has run out."""
    me, host = this_process(), socket.gethostname()
    gone = Process("gone", host, 2**22 - 3, 7)
    late, early = Process("late", "elsewhere", 1, 7), Process("early", "elsewhere", 2, 7)
    done = Process("done", host, 2**22 - 4, 7)
    for process in (me, gone, late, early, done):
        register(bench.engine, process, "cpu", 30.0)
    with bench.engine.begin() as connection:
        update_status(connection, me, WorkerStatus("working", "tiny", 3, 7, -1.5))
        update_status(connection, done, WorkerStatus("stopped"))
        aged = update(WORKERS).where(WORKERS.c.worker == "late").values(seen_at=WORKERS.c.seen_at - 31.0)
        connection.execute(aged)
    rows = workers(bench.engine)
    states = {row.process.name: row.status.state for row in rows}
    assert states == {me.name: "working", "gone": "died", "late": "died", "early": "waiting", "done": "stopped"}
    assert "2 alive, 2 died of 5 workers" in drawn(rows)


def test_json_holds_the_whole_roster(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    me = this_process()
    register(bench.engine, me, "cuda:1 NVIDIA GeForce RTX 3090", 30.0)
    with bench.engine.begin() as connection:
        update_status(connection, me, WorkerStatus("working", "tiny", 3, 7, -1.5))
    workers_command(as_json=True, storage=bench.url)
    (row,) = json.loads(capsys.readouterr().out)["workers"]
    assert row == workers_document(workers(bench.engine))[0] | {
        "seen_s_ago": row["seen_s_ago"],
        "started_s_ago": row["started_s_ago"],
    }
    assert (row["device"], row["study"], row["trial"], row["epoch"], row["score"], row["state"], row["pid"]) == (
        "cuda:1 NVIDIA GeForce RTX 3090", "tiny", 3, 7, -1.5, "working", me.pid,
    )  # fmt: skip


def test_an_empty_roster_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_storage(f"sqlite:///{tmp_path}/studies.db").remove_session()
    workers_command(storage=f"sqlite:///{tmp_path}/studies.db")
    assert "drivebeat launch STUDY" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-0.2, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (90_000, "1 d")],
)
def test_ages_are_told_in_their_largest_unit(seconds: float, words: str) -> None:
    assert ago(seconds) == words
