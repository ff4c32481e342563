"""Execute plug-ins, once a process, as modules under a private name that contains their SHA-256."""

import linecache
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from objectives.metrics import METRICS
from training.errors import PluginError
from training.evaluation.scores import OWN_SCORES
from training.plugins.kinds import KINDS, Kind
from training.plugins.plugin import Plugin, check_together
from training.plugins.trust import refusal, trusted

NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)  # names of studies, files and columns are made of them
PREFIX = "drivebeat_plugin_"  # of the names of the modules


def load_plugins(
    plugins: Sequence[Plugin],
    where: str,
    target: object = None,
    *,
    allowed: Collection[str] = (),
) -> None:
    """Execute those of `plugins` that this process has not executed yet. Nothing is executed if one is not trusted.

    where: the study or file that they are in, for errors.
    target: what `drivebeat trust` takes for it; None takes `where`.
    allowed: SHA-256s that are executed though the machine does not trust them.

    Raises PluginError for a plug-in that is not trusted or whose execution fails. A plug-in that fails has registered
    nothing.
    """
    check_together(plugins, where)
    new = [plugin for plugin in plugins if module_name(plugin) not in sys.modules]
    known = trusted() if any(plugin.sha256 not in allowed for plugin in new) else frozenset()
    for plugin in new:
        if plugin.sha256 not in known and plugin.sha256 not in allowed:
            raise refusal(plugin, where, where if target is None else target)
    for plugin in new:
        _execute(plugin, where)


def module_name(plugin: Plugin) -> str:
    """Return the name of a plug-in's module."""
    return f"{PREFIX}{plugin.sha256}"


def registered_by(plugin: Plugin) -> tuple[tuple[str, str], ...]:
    """Return (kind, name) of what a loaded plug-in has registered."""
    found: tuple[tuple[str, str], ...] = sys.modules[module_name(plugin)].__dict__["__registered__"]
    return found


def _execute(plugin: Plugin, where: str) -> None:
    """Execute a plug-in as a module. Raises PluginError."""
    file = f"<plug-in {plugin.label}>"
    module = ModuleType(module_name(plugin))
    module.__dict__.update(__file__=file, __plugin__=plugin)
    # tracebacks and inspect.getsource find the source here, for there is no file
    linecache.cache[file] = (len(plugin.source), None, plugin.source.splitlines(keepends=True), file)
    with _undone_on_error(module) as before:
        try:
            exec(compile(plugin.source, file, "exec", dont_inherit=True), module.__dict__)
            _check_tables(before)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{where}: plug-in {plugin.label} cannot be loaded: {_reason(error, file)}") from error
        module.__dict__["__registered__"] = tuple(
            (kind.name, name) for kind, old in _kinds_since(before) for name in kind.table if name not in old
        )


@contextmanager
def _undone_on_error(module: ModuleType) -> Iterator[Mapping[Kind, dict[str, Any]]]:
    """Import `module`; remove it and what it has registered if the block raises. Yields the tables of before."""
    before = {kind: dict(kind.table) for kind in KINDS}
    sys.modules[module.__name__] = module  # dataclasses and pickle look their classes' module up
    try:
        yield before
    except BaseException:
        del sys.modules[module.__name__]
        for kind, old in _kinds_since(before):
            kind.table.clear()
            kind.table.update(old)
        raise


def _kinds_since(before: Mapping[Kind, dict[str, Any]]) -> list[tuple[Kind, Mapping[str, Any]]]:
    """Return all kinds with their tables of before; of a kind that was added since, those that it was added with."""
    return [(kind, before.get(kind, kind.added_with)) for kind in KINDS]


def _check_tables(before: Mapping[Kind, dict[str, Any]]) -> None:
    """Raise ValueError for a name that a plug-in may not register: one that exists, or is no name."""
    for kind, old in _kinds_since(before):
        for name, value in old.items():
            if kind.table.get(name) is not value:
                raise ValueError(
                    f"{kind.name} {name!r} is registered already and may not be replaced; use another name"
                )
        for name in kind.table:
            if kind.name != "reader" and name not in old and not NAME.fullmatch(name):
                raise ValueError(f"{kind.name} {name!r}: a name has letters, digits and _, and begins with a letter")
    for name in METRICS:
        if name in OWN_SCORES:
            raise ValueError(f"metric {name!r} is registered already, as a score; use another name")


def _reason(error: BaseException, file: str) -> str:
    """Return an error of a plug-in as one line, with the line of the source and a hint."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f"line {lines[-1]}: " if lines else ""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for name, module in list(sys.modules.items()):
        if name.startswith(PREFIX) and name in text:
            owner = f"plug-in {module.__dict__['__plugin__'].label}"
            text = f"{text.replace(name, owner)}, or use them in two commands"
    if isinstance(error, ModuleNotFoundError):
        text += f"; a plug-in is one file: install {error.name}, or copy what it needs of it into the file"
    return f"{place}{text}"
