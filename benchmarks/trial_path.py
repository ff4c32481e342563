"""Count the files that one trial enters, and how often its calls change from one file to another.

    python -m benchmarks.trial_path [--edges N]

A study of one trial is created, then one worker runs it for two epochs on SQLite, under a profiler that sees every call
of a function of ours in the worker's main thread. A move is a call into another file of ours, or the return from one.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("search", "training", "models", "data", "objectives")


@dataclass(slots=True)
class Trail:
    """The files entered, and the moves between them by (from, to)."""

    entered: Counter[str] = field(default_factory=Counter)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    here: str = ""

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take in one event of sys.setprofile."""
        name = ours(frame)
        if not name:
            return
        if event == "call":
            self.entered[name] += 1
            self.go(name)
        elif event == "return":
            caller = frame.f_back
            while caller is not None and not ours(caller):
                caller = caller.f_back
            if caller is not None:
                self.go(ours(caller))

    def go(self, name: str) -> None:
        """Be in the file `name` from now on."""
        if self.here and name != self.here:
            self.moves[self.here, name] += 1
        self.here = name


def ours(frame: FrameType) -> str:
    """The file of a frame below the checkout, "" for files of others."""
    return _ours(frame.f_code.co_filename)


_KNOWN: dict[str, str] = {}


def _ours(file: str) -> str:
    if file not in _KNOWN:
        path = Path(file)
        inside = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES
        _KNOWN[file] = str(path.relative_to(ROOT)) if inside else ""
    return _KNOWN[file]


def study_document(folder: Path) -> dict[str, Any]:
    """The study of one trial, on half a minute of generated recordings in `folder`."""
    from tests.support.study import tiny_data, tiny_recordings, tiny_study

    return tiny_study(tiny_data(tiny_recordings(folder)), name="path", epochs=2, budget={"trials": 1})


def walk(folder: Path, run: Callable[[Callable[[], Any]], Any]) -> None:
    """Create the study in `folder`, and have `run` call what its one worker does."""
    from search.artifacts.open import open_artifacts
    from search.storage.open import open_engine, open_storage
    from search.study.spec import StudySpec, check
    from search.study.study import create
    from search.worker.worker import work
    from training.decode import decode
    from training.trackers.base import Tracking

    os.environ["DRIVEBEAT_CACHE"] = str(folder / "cache")
    url = f"sqlite:///{folder}/studies.db"
    spec = check(decode(StudySpec, study_document(folder / "recordings"), "path"), "path")
    create(spec, open_storage(url), open_engine(url))
    tracking, store = Tracking(), open_artifacts(folder / "artifacts")
    run(lambda: work([spec.name], url, store, threads=1, log=lambda line: None, tracking=tracking))


def trace(folder: Path) -> Trail:
    """The path of the one trial."""
    path = Trail()

    def run(call: Callable[[], Any]) -> None:
        sys.setprofile(path.profile)
        try:
            call()
        finally:
            sys.setprofile(None)

    walk(folder, run)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edges", type=int, default=0, metavar="N", help="also list the N busiest pairs of files")
    parser.add_argument("--files", action="store_true", help="also list the files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = trace(Path(folder))
    by_package = Counter(name.split("/")[0] for name in path.entered)
    counted = ", ".join(f"{n} in {package}/" for package, n in by_package.most_common())
    print(f"{len(path.entered)} files ({counted}), {sum(path.moves.values())} moves")
    for (before, after), n in path.moves.most_common(options.edges):
        print(f"{n:5} {before} -> {after}")
    if options.files:
        for name, n in sorted(path.entered.items()):
            print(f"{n:5} {name}")


if __name__ == "__main__":
    main()
