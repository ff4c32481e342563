"""Prepared recordings kept on this machine: made once, mapped into memory by every process that needs them.

DRIVEBEAT_CACHE moves the folder (`$XDG_CACHE_HOME/drivebeat`, else `~/.cache/drivebeat`) or, empty, does without.
DRIVEBEAT_CACHE_GB bounds its size (10). What is found is what would be made: an entry's name is a digest of the
recording's bytes, the settings and the code that prepares; its content is checked against a digest of its own.
Nothing here fails a run: a folder that cannot be written or a full disk costs one line of warning.
"""

import fcntl
import hashlib
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.files import atomic
from data.recording import Signal

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


LOGGER = logging.getLogger("drivebeat.cache")
LIMIT_GB = 10.0
PATIENCE_S = 120.0  # for another process that prepares the same recording; then it is made twice, to the same bytes
LEFT_OVER_S = 3600.0  # a temporary file so old belongs to a process that died
LIBRARIES = ("numpy", "scipy", "h5py", "soundfile", "wfdb")


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A recording as a run uses it, with what tells it from others.

    signals: read-only float32[channel, time]. in_band: read-only float32[time].
    digest, heard: of the recording as read: whole, and its first channel alone.
    """

    signals: Signal
    in_band: Signal
    r_peaks_s: NDArray[np.float64] | None
    duration_s: float
    digest: str
    heard: str


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """A folder of prepared recordings, open for one load.

    used: keys of the entries that were read or written. made: those written. troubles: why the folder could not be
    used as it should.
    """

    folder: Path
    limit_bytes: float
    code: str
    used: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)


@contextmanager
def open_cache(environment: Mapping[str, str] = os.environ) -> Iterator[Cache | None]:
    """The cache that `environment` names, or None; on leaving, the oldest entries beyond its limit are removed.

    Raises DataError where DRIVEBEAT_CACHE_GB is no number.
    """
    cache = _cache_of(environment)
    try:
        yield cache
    finally:
        if cache is not None:
            _tidy(cache)
        if cache is not None and cache.troubles:
            LOGGER.warning(
                "%s: prepared recordings are not kept (%s); have DRIVEBEAT_CACHE name a folder with room, or be empty",
                cache.folder,
                cache.troubles[0],
            )


def keep(
    cache: Cache | None, path: Path, ecg: Path | None, settings: Mapping[str, object], make: Callable[[], Prepared]
) -> Prepared:
    """What `make` gives for the recording at `path`, from the cache where it is there, else made and put there.

    settings: all that `make` depends on besides the files' bytes; plain values. Raises what `make` raises, and is
    silent about a file that cannot be read: `make` says it better.
    """
    if cache is None:
        return make()
    memory = cache.folder / "files"
    try:
        parts = [look(part, memory) for part in parts_of(path, ecg)]
    except OSError:
        return make()
    told = [cache.code, path.suffix.lower(), settings, [(part.path.suffix.lower(), part.digest) for part in parts]]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:40]
    found = _found(cache, key)
    if found is not None:
        return found
    with _alone(cache, key):
        found = _found(cache, key)  # by now another process may have made it
        if found is not None:
            return found
        made = make()
        try:
            # A file that changed while it was read must not stand for what it held before.
            if [look(part.path, None) for part in parts] != parts:
                return made
        except OSError:
            return made
        _put(cache, key, made)
    return _found(cache, key) or made  # mapped, so that the memory is shared


def _cache_of(environment: Mapping[str, str]) -> Cache | None:
    limit_bytes = 1e9 * _limit_gb(environment.get("DRIVEBEAT_CACHE_GB", ""))
    named = environment.get("DRIVEBEAT_CACHE")
    if named == "":
        return None
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Cache(Path(named or f"{base}/drivebeat").expanduser().absolute(), limit_bytes, _code())
    except (OSError, RuntimeError) as error:  # no home, or no source code to tell versions by
        LOGGER.warning("prepared recordings are not kept (%s); have DRIVEBEAT_CACHE name a folder, or be empty", error)
        return None


def _limit_gb(text: str) -> float:
    try:
        limit = float(text or LIMIT_GB)
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise DataError(
            f"DRIVEBEAT_CACHE_GB is {text!r}; a positive number is needed, or DRIVEBEAT_CACHE= for no cache"
        )
    return limit


def _code(folder: Path = Path(__file__).parent) -> str:
    """A digest of the source code in `folder`, readers among it, and of the versions of what it calls."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()}".encode())
    for name in LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            digest.update(f"{name} none".encode())
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()


def _places(cache: Cache, key: str) -> tuple[Path, Path]:
    return cache.folder / "prepared" / f"{key}.json", cache.folder / "prepared" / f"{key}.npy"


def _found(cache: Cache, key: str) -> Prepared | None:
    """The entry `key`, its array mapped read-only; None where there is none or it is damaged."""
    facts_file, rows_file = _places(cache, key)
    try:
        outer = json.loads(facts_file.read_text(encoding="utf-8"))
        facts = json.loads(outer["facts"])
        rows = np.asarray(np.load(rows_file, mmap_mode="r", allow_pickle=False))
        if outer["sum"] != _sum(key, outer["facts"], rows):
            return None
        peaks = None if facts["r_peaks_s"] is None else np.array(facts["r_peaks_s"], np.float64)
        if peaks is not None:
            peaks.setflags(write=False)
        n_channels = int(facts["n_channels"])
        prepared = Prepared(
            signals=rows[:n_channels],
            in_band=rows[n_channels] if n_channels < len(rows) else rows[0],
            r_peaks_s=peaks,
            duration_s=float(facts["duration_s"]),
            digest=str(facts["digest"]),
            heard=str(facts["heard"]),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    cache.used.add(key)
    return prepared


def _put(cache: Cache, key: str, made: Prepared) -> None:
    if cache.troubles:
        return
    own_row = not np.array_equal(made.in_band, made.signals[0])
    rows = np.concatenate([made.signals, made.in_band[None]]) if own_row else made.signals
    facts = json.dumps(
        {
            "n_channels": len(made.signals),
            "r_peaks_s": None if made.r_peaks_s is None else made.r_peaks_s.tolist(),
            "duration_s": made.duration_s,
            "digest": made.digest,
            "heard": made.heard,
        }
    )
    facts_file, rows_file = _places(cache, key)
    try:
        with atomic(rows_file) as temporary, temporary.open("wb") as file:
            np.save(file, rows, allow_pickle=False)
        with atomic(facts_file) as temporary:
            temporary.write_text(json.dumps({"facts": facts, "sum": _sum(key, facts, rows)}), encoding="utf-8")
    except OSError as error:
        cache.troubles.append(error.strerror or str(error))
        return
    cache.made.add(key)


def _sum(key: str, facts: str, rows: Signal) -> str:
    digest = hashlib.sha256(f"{key} {rows.shape} {rows.dtype.str} {facts}".encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


@contextmanager
def _alone(cache: Cache, key: str) -> Iterator[None]:
    """Hold the lock of `key`, so that processes that start together prepare each recording once.

    It saves work and no more: without it all would write the same bytes. So where the file system has no locks, or
    the holder takes too long, the block runs all the same.
    """
    handle = _lock_file(cache, key)
    try:
        over_at = time.monotonic() + (0 if handle is None else PATIENCE_S)
        while handle is not None and time.monotonic() < over_at:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock_file(cache: Cache, key: str) -> int | None:
    place = cache.folder / "locks" / key[:2]  # 256 of them, never removed
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        cache.troubles.append(error.strerror or str(error))
        return None


def _tidy(cache: Cache) -> None:
    """Note which entries were used, and remove the files not used for longest beyond the limit."""
    now_s = time.time()
    for key in cache.used:
        for place in _places(cache, key):
            _careful(partial(os.utime, place, (now_s, now_s)))
    if not cache.made:
        return
    held: list[tuple[int, str, int, Path]] = []
    for name in ("prepared", "files"):
        for place in (cache.folder / name).glob("*"):
            try:
                facts = place.stat()
            except OSError:
                continue  # another process removed it
            if place.name.startswith(".") and facts.st_mtime < now_s - LEFT_OVER_S:
                _careful(place.unlink)
            elif not place.name.startswith("."):
                held.append((facts.st_mtime_ns, place.name, facts.st_blocks * 512, place))
    total = sum(size for _, _, size, _ in held)
    # Those used by one load have one time, so that of a corpus beyond the limit the same part stays each time.
    for _, _, size, place in sorted(held):
        if total <= cache.limit_bytes:
            break
        _careful(place.unlink)  # who has it mapped keeps it until its process ends
        total -= size


def _careful(step: Callable[[], object]) -> None:
    try:
        step()
    except OSError:
        return
