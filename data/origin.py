"""Which files a recording is read from, and what they hold; a digest is remembered while the file stays as it was."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from data.files import atomic

# The coarsest clock of a common file system ticks every 2 s (FAT). A file changed less than that before it was read
# may change again within the same tick and look the same, so what it held is not remembered.
SETTLED_S = 3.0
WFDB_SUFFIXES = (".hea", ".dat")
BEAT_SUFFIXES = (".qrs", ".atr")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a recording as it was at some moment: its size, times and inode, and the SHA-256 of its bytes.

    A program can set a file's modification time back, but not the time of its last change (ctime).
    """

    path: Path
    stamp: tuple[int, ...]
    digest: str


def parts_of(path: Path, ecg: Path | None = None) -> tuple[Path, ...]:
    """The files that `read(path, ecg=ecg)` reads; a WFDB record's signal and annotation files are among them."""
    found: list[Path] = []
    for file in (path, *(() if ecg is None else (ecg,))):
        if file.suffix.lower() in WFDB_SUFFIXES:
            _add_record(file, found)
        else:
            found.append(file)
    return tuple(found)


def _add_record(path: Path, found: list[Path]) -> None:
    header = path.with_suffix(".hea")
    if header in found:
        return
    found.append(header)
    found.extend(beats for suffix in BEAT_SUFFIXES if (beats := path.with_suffix(suffix)).is_file())
    # Each line begins with the record's name, with a signal file, or with the record that is a segment.
    for line in header.read_text(encoding="utf-8", errors="replace").splitlines():
        name = line.split()[0] if line.split() and not line.startswith("#") else ""
        if name and (path.parent / name).is_file():
            found.append(path.parent / name)
        elif name and (path.parent / f"{name}.hea").is_file():
            _add_record(path.parent / f"{name}.hea", found)


def look(path: Path, memory: Path | None) -> Part:
    """What `path` holds now; read again unless a note in the folder `memory` was taken of the file as it is.

    Raises OSError where the file cannot be read. A note that cannot be written is left out.
    """
    stamp = _stamp(path)
    note = None if memory is None else memory / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json"
    if note is not None and (digest := _noted(note, stamp)):
        return Part(path, stamp, digest)
    began_s = time.time()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    settled = max(stamp[1], stamp[2]) / 1e9 <= began_s - SETTLED_S
    if note is not None and settled and _stamp(path) == stamp:
        _take(note, stamp, digest)
    return Part(path, stamp, digest)


def _stamp(path: Path) -> tuple[int, ...]:
    now = path.stat()
    return (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)


def _noted(note: Path, stamp: tuple[int, ...]) -> str:
    try:
        held = json.loads(note.read_text(encoding="utf-8"))
        return str(held["sha256"]) if tuple(held["stamp"]) == stamp else ""
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: the file is read again
        return ""


def _take(note: Path, stamp: tuple[int, ...], digest: str) -> None:
    try:
        with atomic(note) as temporary:
            temporary.write_text(json.dumps({"stamp": stamp, "sha256": digest}), encoding="utf-8")
    except OSError:
        return  # the next one reads the file again
