"""A cache of prepared recordings on disk, which each process maps into memory.

The folder is DRIVEBEAT_CACHE, else `$XDG_CACHE_HOME/drivebeat`, else `~/.cache/drivebeat`; an empty DRIVEBEAT_CACHE
switches the cache off. DRIVEBEAT_CACHE_GB limits its size (10 GB by default); the entries not used for longest are
removed.

A cached recording equals a newly prepared one. The key of an entry is a digest of the recording's files, the settings
and the source code that prepares it, and its content is checked against a checksum. To find the digest of a large file
without reading it again, the cache remembers the digests of files together with their size, times and inode.

The cache never makes a run fail: a folder that cannot be written or a full disk is logged as one warning.
"""

import hashlib
import inspect
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from data.entry_points import distribution_of
from data.errors import DataError
from data.files import atomic
from data.readers.read import files_of, format_of
from data.recording import Signal

LOGGER = logging.getLogger("drivebeat.cache")
DEFAULT_LIMIT_GB = 10.0
# Longest wait for another process that prepares the same recording. Afterwards it is prepared here too.
LOCK_TIMEOUT_S = 120.0
ABANDONED_S = 3600.0  # a temporary file of this age belongs to a process that died
# The coarsest clock of a common file system ticks every 2 s (FAT). A file that changed less than this before it was
# read may change again within the same tick without a new time, so its digest is not remembered.
SETTLED_S = 3.0
LIBRARIES = ("numpy", "scipy", "h5py", "soundfile", "wfdb", "pyedflib", "nptdms", "pandas")
OWN = __name__.rpartition(".")[0]  # the package of our readers


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A recording prepared for a run, with digests that identify it.

    signals: read-only float32[channel, time], see data.corpus.Segment.
    in_band: read-only float32[time], channel 0 in the heart's band.
    r_peaks_s: seconds of the R peaks; None if they are unknown.
    duration_s: of the recording as read.
    digest: SHA-256 of the recording as read: rate, all channels and R peaks.
    channel_digest: SHA-256 of its rate and first channel.
    notes: what was assumed, corrected or left out in reading it.
    """

    signals: Signal
    in_band: Signal
    r_peaks_s: NDArray[np.float64] | None
    duration_s: float
    digest: str
    channel_digest: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """A folder of prepared recordings, open while a corpus is loaded.

    code: digest of the source code that prepares recordings.
    used: keys of the entries that were read or written.
    written: keys of the entries that were written.
    problems: errors of the folder; after the first one, nothing more is written.
    """

    folder: Path
    limit_bytes: float
    code: str
    used: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


@contextmanager
def open_cache(environment: Mapping[str, str] = os.environ) -> Iterator[Cache | None]:
    """Open the cache that the variables in `environment` name; yield None if it is switched off or cannot be used.

    On leaving, the entries not used for longest are removed until the size is within the limit.

    Raises DataError if DRIVEBEAT_CACHE_GB is not a positive number.
    """
    cache = _cache_of(environment)
    try:
        yield cache
    finally:
        if cache is not None:
            _tidy(cache)
        if cache is not None and cache.problems:
            LOGGER.warning(
                "%s: prepared recordings are not kept (%s); have DRIVEBEAT_CACHE name a folder with room, or be empty",
                cache.folder,
                cache.problems[0],
            )


def store(
    cache: Cache | None, path: Path, ecg: Path | None, settings: Mapping[str, object], make: Callable[[], Prepared]
) -> Prepared:
    """Return the prepared recording at `path` from the cache; if it is not there, call `make` and store the result.

    cache: None always calls `make`.
    ecg: file of the recording's ECG, if it is another one.
    settings: plain values; everything that `make` depends on besides the content of the files.

    Raises only what `make` raises. If a file cannot be read, `make` is called for its error message.
    """
    if cache is None:
        return make()
    memory = cache.folder / "files"
    try:
        parts = [digested(part, memory) for part in parts_of(path, ecg)]
    except (OSError, DataError):
        return make()
    try:
        code = [cache.code, *(_reader_code(part.path.suffix.lower()) for part in parts)]
    except (OSError, TypeError):  # the source of a reader from outside cannot be read
        return make()
    facts = ["".join(code), path.suffix.lower(), settings, [(part.path.suffix.lower(), part.digest) for part in parts]]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
    found = _found(cache, key)
    if found is not None:
        return found
    with _exclusive(cache, key):
        found = _found(cache, key)  # another process may have stored it in the meantime
        if found is not None:
            return found
        made = make()
        try:
            # If a file changed while it was read, the result does not belong to this key.
            if [digested(part.path, None) for part in parts] != parts:
                return made
        except OSError:
            return made
        _put(cache, key, made)
    return _found(cache, key) or made  # the stored array is mapped, so processes share its memory


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a recording and its content when it was read.

    stamp: size, modification time, change time (ctime) and inode. A program can set back the modification time of a
        file, but not its change time.
    digest: SHA-256 of the bytes, in hexadecimal.
    """

    path: Path
    stamp: tuple[int, ...]
    digest: str


def parts_of(path: Path, ecg: Path | None = None) -> tuple[Path, ...]:
    """Return the files that `read(path, ecg=ecg)` reads, see data.readers.read.Format.parts.

    Raises OSError or DataError if they cannot be found.
    """
    return tuple(part for file in (path, *(() if ecg is None else (ecg,))) for part in files_of(file))


def digested(path: Path, memory: Path | None) -> Part:
    """Return the file `path` with its digest.

    The file is not read if its digest is remembered in the folder `memory` and its stamp has not changed. A digest
    that cannot be written there is not remembered.

    Raises OSError if the file cannot be read.
    """
    stamp = _stamp(path)
    entry = None if memory is None else memory / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"
    if entry is not None and (digest := _remembered(entry, stamp)):
        return Part(path, stamp, digest)
    start_s = time.time()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    is_settled = max(stamp[1], stamp[2]) / 1e9 <= start_s - SETTLED_S
    if entry is not None and is_settled and _stamp(path) == stamp:
        _remember(entry, stamp, digest)
    return Part(path, stamp, digest)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return size, modification time, change time and inode of a file."""
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _remembered(entry: Path, stamp: tuple[int, ...]) -> str:
    """Return the remembered digest of a file with this stamp; "" if there is none."""
    try:
        found = json.loads(entry.read_text(encoding="utf-8"))
        return str(found["sha256"]) if tuple(found["stamp"]) == stamp else ""
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: the file is read again
        return ""


def _remember(entry: Path, stamp: tuple[int, ...], digest: str) -> None:
    """Write the digest of a file with this stamp; errors are ignored."""
    try:
        with atomic(entry) as temporary:
            temporary.write_text(json.dumps({"stamp": stamp, "sha256": digest}), encoding="utf-8")
    except OSError:
        return


def _cache_of(environment: Mapping[str, str]) -> Cache | None:
    """Return the cache that the variables name; None if it is switched off or has no folder."""
    limit_bytes = 1e9 * _limit_gb(environment.get("DRIVEBEAT_CACHE_GB", ""))
    named = environment.get("DRIVEBEAT_CACHE")
    if named == "":
        return None
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Cache(Path(named or f"{base}/drivebeat").expanduser().absolute(), limit_bytes, _code())
    except (OSError, RuntimeError) as error:  # no home folder, or source code that cannot be read
        LOGGER.warning("prepared recordings are not kept (%s); have DRIVEBEAT_CACHE name a folder, or be empty", error)
        return None


def _limit_gb(text: str) -> float:
    """Return the limit that DRIVEBEAT_CACHE_GB sets. Raises DataError."""
    try:
        limit = float(text or DEFAULT_LIMIT_GB)
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise DataError(
            f"DRIVEBEAT_CACHE_GB is {text!r}; a positive number is needed, or DRIVEBEAT_CACHE= for no cache"
        )
    return limit


def _code(folder: Path = Path(__file__).parent) -> str:
    """Return a digest of the source code in `folder` and below, and of the versions of the libraries that it uses."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()}".encode())
    for name in LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            digest.update(f"{name} none".encode())
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()


def _reader_code(suffix: str) -> str:
    """Return the module of the reader of a suffix, with a digest of its source and the version of its distribution.

    "" for our own readers, which are in Cache.code, and for a suffix without one. Raises OSError or TypeError where the
    source cannot be read.
    """
    found = format_of(suffix)
    if found is None:
        return ""
    module = found.read.__module__
    if module.startswith(f"{OWN}."):
        return ""
    digest = hashlib.sha256(inspect.getsource(sys.modules[module]).encode()).hexdigest()
    return f" {module} {digest} {distribution_of('reader', module)}"


def _files_of(cache: Cache, key: str) -> tuple[Path, Path]:
    """Return the two files of an entry: facts and array."""
    return cache.folder / "prepared" / f"{key}.json", cache.folder / "prepared" / f"{key}.npy"


def _found(cache: Cache, key: str) -> Prepared | None:
    """Return the entry `key` with its array mapped read-only; None if it is missing or damaged."""
    facts_file, rows_file = _files_of(cache, key)
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
            channel_digest=str(facts["heard"]),
            notes=tuple(map(str, facts["notes"])),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    cache.used.add(key)
    return prepared


def _put(cache: Cache, key: str, made: Prepared) -> None:
    """Write an entry. An error is recorded in the cache's problems."""
    if cache.problems:
        return
    own_row = not np.array_equal(made.in_band, made.signals[0])
    rows = np.concatenate([made.signals, made.in_band[None]]) if own_row else made.signals
    facts = json.dumps(
        {
            "n_channels": len(made.signals),
            "r_peaks_s": None if made.r_peaks_s is None else made.r_peaks_s.tolist(),
            "duration_s": made.duration_s,
            "digest": made.digest,
            "heard": made.channel_digest,
            "notes": made.notes,
        }
    )
    facts_file, rows_file = _files_of(cache, key)
    try:
        with atomic(rows_file) as temporary, temporary.open("wb") as file:
            np.save(file, rows, allow_pickle=False)
        with atomic(facts_file) as temporary:
            temporary.write_text(json.dumps({"facts": facts, "sum": _sum(key, facts, rows)}), encoding="utf-8")
    except OSError as error:
        cache.problems.append(error.strerror or str(error))
        return
    cache.written.add(key)


def _sum(key: str, facts: str, rows: Signal) -> str:
    """Return the checksum of an entry."""
    digest = hashlib.sha256(f"{key} {rows.shape} {rows.dtype.str} {facts}".encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


@contextmanager
def _exclusive(cache: Cache, key: str) -> Iterator[None]:
    """Hold the lock of `key` during the block, so that processes that start together prepare a recording once.

    The lock only saves work: without it, all would write the same bytes. If the file system has no locks, or the
    holder takes longer than LOCK_TIMEOUT_S, the block runs without it.
    """
    path = cache.folder / "locks" / key[:2]  # at most 256 files
    lock = FileLock(path, timeout=LOCK_TIMEOUT_S, mode=0o666)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(poll_interval=0.02)
    except (Timeout, NotImplementedError):  # a slow holder; a file system without locks
        pass
    except OSError as error:
        if not path.exists():
            cache.problems.append(error.strerror or str(error))
    try:
        yield
    finally:
        lock.release()


def _tidy(cache: Cache) -> None:
    """Update the times of the used entries, and remove the files not used for longest beyond the limit."""
    now_s = time.time()
    for key in cache.used:
        for path in _files_of(cache, key):
            with suppress(OSError):
                os.utime(path, (now_s, now_s))
    if not cache.written:
        return
    entries: list[tuple[int, str, int, Path]] = []
    for name in ("prepared", "files"):
        for path in (cache.folder / name).glob("*"):
            try:
                status = path.stat()
            except OSError:
                continue  # another process removed it
            if path.name.startswith(".") and status.st_mtime < now_s - ABANDONED_S:
                with suppress(OSError):
                    path.unlink()
            elif not path.name.startswith("."):
                entries.append((status.st_mtime_ns, path.name, status.st_blocks * 512, path))
    total = sum(size for _, _, size, _ in entries)
    # The entries of one load have equal times and are removed by name, so that of a corpus larger than the limit the
    # same part stays cached each time.
    for _, _, size, path in sorted(entries):
        if total <= cache.limit_bytes:
            break
        with suppress(OSError):
            path.unlink()  # a process that has it mapped can read it until it ends
        total -= size
