"""Which plug-ins are executed on this machine: those whose SHA-256 its user has trusted.

A plug-in inside of a document or a database is somebody's code. Its SHA-256 is trusted if it stands in the trust file
or in the variable DRIVEBEAT_TRUST, which a launch sets for its workers: SHA-256s separated by commas. The trust file is
`$XDG_STATE_HOME/drivebeat/trusted`, or else `~/.local/state/drivebeat/trusted`.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from filelock import FileLock, Timeout

from data.errors import FileError, shell_command
from data.files import atomic, file_errors, make_folder
from training.errors import PluginError
from training.plugins.plugin import SHOWN_DIGITS, Plugin

VARIABLE = "DRIVEBEAT_TRUST"
HASH = re.compile(r"[0-9a-f]{64}")
LOCK_TIMEOUT_S = 10.0


def trust_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the trust file's path. Raises PluginError where this user has no home folder."""
    base = environment.get("XDG_STATE_HOME", "")
    try:
        # the specification of XDG ignores relative paths
        folder = Path(base) if Path(base).is_absolute() else Path("~/.local/state").expanduser()
    except RuntimeError as error:
        raise PluginError(
            f"no home folder for the trusted plug-ins ({error}); set XDG_STATE_HOME or {VARIABLE}"
        ) from error
    return folder / "drivebeat" / "trusted"


def trusted(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the trusted SHA-256s. Raises PluginError for a malformed DRIVEBEAT_TRUST, FileError."""
    return _passed(environment) | _recorded(trust_file(environment))


def untrusted(plugins: Iterable[Plugin], environment: Mapping[str, str] = os.environ) -> tuple[Plugin, ...]:
    """Return those of `plugins` that are not trusted on this machine. Raises as `trusted` does."""
    wanted = tuple(plugins)
    known = trusted(environment) if wanted else frozenset()
    return tuple(plugin for plugin in wanted if plugin.sha256 not in known)


def refusal(plugin: Plugin, where: str, target: object) -> PluginError:
    """Return the error about a plug-in that is not trusted.

    where: the study or the file that it is in. target: what `drivebeat trust` takes for it.
    """
    same = " with the same --storage" if where.startswith("study ") else ""
    return PluginError(
        f"{where}: plug-in {plugin.name} (SHA-256 {plugin.sha256[:SHOWN_DIGITS]}) is not trusted on this machine; read "
        f"it with --show, then trust it: {shell_command('trust', target)}{same}"
    )


def remember(plugins: Sequence[Plugin], environment: Mapping[str, str] = os.environ) -> tuple[Plugin, ...]:
    """Write the SHA-256s of `plugins` into the trust file; return the plug-ins that were not trusted before.

    Raises PluginError, FileError.
    """
    new = untrusted(plugins, environment)
    if not new:
        return ()
    path = trust_file(environment)
    make_folder(path.parent)
    try:
        with file_errors(path), FileLock(path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
            with file_errors(path, "read"):
                before = path.read_text(encoding="utf-8") if path.exists() else ""
            lines = [f"{plugin.sha256} {date.today().isoformat()} {plugin.name}" for plugin in new]
            text = "".join(f"{line}\n" for line in [*before.splitlines(), *lines])
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except (Timeout, NotImplementedError, UnicodeDecodeError) as error:
        raise PluginError(f"{path}: cannot be written ({error}); set {VARIABLE} instead") from error
    return new


def _passed(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the SHA-256s in DRIVEBEAT_TRUST. Raises PluginError."""
    found = [text.strip().lower() for text in environment.get(VARIABLE, "").split(",")]
    for text in found:
        if text and not HASH.fullmatch(text):
            raise PluginError(f"{VARIABLE} holds {text[:80]!r}; whole SHA-256s (64 digits) with commas are needed")
    return frozenset(filter(None, found))


def _recorded(path: Path) -> frozenset[str]:
    """Return the SHA-256s in the trust file; none where it does not exist. Raises FileError."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise FileError.of(path, error, "read") from error
    words = [line.split() for line in lines]
    return frozenset(found[0] for found in words if found and HASH.fullmatch(found[0]))
