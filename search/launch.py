"""A search from start to spent budget on this machine, shown live."""

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from search.launchers import LocalLaunch, local_workers
from search.live import Snapshot, plain_line, render, snapshot
from search.storage import open_engine, open_storage
from search.study import StudyError, load_study
from search.worker import sweep
from training.decode import ConfigError

POLL_S = 1.0
PLAIN_EVERY_S = 10.0


class LaunchError(ConfigError):
    """Workers ended before the budget was spent."""


def launch(local: LocalLaunch, console: Console) -> list[Snapshot]:
    """Run `local` until its studies' budgets are spent; the studies as they then stand.

    Trials of workers that died before this launch are failed and their slots given back first; so are those of
    workers that die during it. Ctrl-C stops all workers in order. Raises LaunchError where the workers end early.
    """
    storage, engine = open_storage(local.url), open_engine(local.url)
    searches = [load_study(name, storage) for name in local.studies]
    if not searches:
        raise StudyError("no study to launch")
    for search in searches:
        sweep(search, engine)
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    with local_workers(local) as processes:
        if live:
            live.start()
        said_at = 0.0
        try:
            while any(process.poll() is None for process in processes):
                time.sleep(POLL_S)
                if any(process.returncode for process in processes if process.poll() is not None):
                    for search in searches:
                        sweep(search, engine)
                snaps = [snapshot(search, engine) for search in searches]
                if live:
                    live.update(render(snaps), refresh=True)
                elif time.monotonic() - said_at > PLAIN_EVERY_S:
                    said_at = time.monotonic()
                    console.print("\n".join(plain_line(s) for s in snaps), soft_wrap=True, highlight=False)
        finally:
            if live:
                live.stop()
    for search in searches:
        sweep(search, engine)
    snaps = [snapshot(search, engine) for search in searches]
    engine.dispose()
    if console.is_terminal:
        console.print(render(snaps))
    codes = [process.returncode for process in processes]
    if any(codes) and any(s.finished < s.budget for s in snaps):
        last = [line for i in range(local.n_workers) for line in _last_line(local.logs / f"worker-{i}.log")]
        raise LaunchError(
            f"workers ended early (exit codes {codes}); last words: {' | '.join(last)}; logs: {local.logs}"
        )
    return snaps


def _last_line(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1:]
