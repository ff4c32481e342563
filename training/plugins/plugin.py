"""A plug-in as a value: name, SHA-256 and source; and plug-ins in the documents of studies and runs.

A study or run file that people write names files: ``plugins: [my_model.py]``. `embedded` replaces the names by tables
of name, SHA-256 and source, which a document that a program writes has. In a database the source is stored once for a
study, and the documents of the study and of its trials have tables of name and SHA-256 only: `referenced` removes the
sources, `joined` puts them back.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import near, printable
from training.decode import decode
from training.documents import text_of
from training.errors import ConfigError, PluginError

PLUGINS = "plugins"  # the key in documents
SUFFIX = ".py"
MAX_BYTES = 2**20  # of all plug-ins of a study or run together
MAX_NAME = 100  # characters
SHOWN_DIGITS = 12  # of a SHA-256 in messages


@dataclass(frozen=True, slots=True)
class Plugin:
    """A Python file that registers models, losses, metrics, readers or samplers.

    name: of the file, without its folder.
    sha256: of the source in UTF-8, in hexadecimal.
    source: its text, with line ends "\\n" and without a byte order mark.

    Raises ValueError for a name that is none of a Python file, a source of more than MAX_BYTES, and a SHA-256 that is
    not the source's.
    """

    name: str
    sha256: str
    source: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.name.endswith(SUFFIX) or set(self.name) & set("/\\") or len(self.name) > MAX_NAME:
            raise ValueError(
                f"name is {self.name[:MAX_NAME]!r}; the name of a {SUFFIX} file without a folder is needed"
            )
        if printable(self.name) != self.name:
            raise ValueError(f"name is {self.name!r}; printable characters are needed")
        if (size := len(self.source.encode())) > MAX_BYTES:
            raise ValueError(f"{self.name}: {size:,} bytes; at most {MAX_BYTES:,} are allowed")
        if (found := sha256_of(self.source)) != self.sha256:
            raise ValueError(
                f"{self.name}: its source has the SHA-256 {found[:SHOWN_DIGITS]}, not {self.sha256[:SHOWN_DIGITS]}, "
                "and was changed; get the document again from where it was made"
            )

    @property
    def label(self) -> str:
        """Name and first digits of the SHA-256, for messages."""
        return f"{self.name} ({self.sha256[:SHOWN_DIGITS]})"

    @property
    def n_lines(self) -> int:
        """Return the number of lines of the source."""
        return len(self.source.splitlines())


def sha256_of(source: str) -> str:
    """Return the SHA-256 of a source in UTF-8, in hexadecimal."""
    return hashlib.sha256(source.encode()).hexdigest()


def plugin_of(name: str, source: str) -> Plugin:
    """Return the plug-in with this source. Raises ValueError as Plugin does."""
    return Plugin(name, sha256_of(source), source)


def read_plugin(path: Path) -> Plugin:
    """Read a plug-in from a file in UTF-8. Raises PluginError for a file that cannot be one."""
    too_large = f"larger than {MAX_BYTES:,} bytes, which no plug-in may be; install it as a package"
    source = text_of(path, MAX_BYTES, too_large, PluginError)
    if "\0" in source:
        raise PluginError(f"{path}: has a NUL character; is it the right file?")
    try:
        return plugin_of(path.name, source)
    except ValueError as error:
        raise PluginError(f"{path}: {error}") from error


def embedded(document: Any, path: Path) -> Any:
    """Return a document with the files that its key `plugins` names replaced by tables with their sources.

    path: of the document. A relative file is looked for beside it, then in the working directory.

    A document without the key, or with another kind of value, is returned as it is. Raises PluginError for a file that
    is missing or cannot be a plug-in.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get(PLUGINS), list | tuple):
        return document
    entries = document[PLUGINS]
    tables = [_table_of(read_plugin(_find(each, path))) if isinstance(each, str) else each for each in entries]
    return {**document, PLUGINS: tables}


def _find(name: str, document: Path) -> Path:
    """Return the file that a document names. Raises PluginError where there is none."""
    candidates = [document.parent / name, Path(name)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        beside = sorted(path.name for path in document.parent.glob(f"*{SUFFIX}"))
        raise PluginError(
            f"{document}: plugins: no file {name!r} beside it or in the working directory"
            f"{near(Path(name).name, beside)}; correct the path, or make one: drivebeat new model my_model.py"
        )
    return found


def _table_of(plugin: Plugin) -> dict[str, str]:
    """Return a plug-in as plain values."""
    return {"name": plugin.name, "sha256": plugin.sha256, "source": plugin.source}


def decode_plugins(values: object, where: str) -> tuple[Plugin, ...]:
    """Return the plug-ins in the value of a document's key `plugins`; none of them is executed.

    where: the document, for errors. Raises PluginError.
    """
    if not isinstance(values, list | tuple):
        raise PluginError(
            f"{where}: plugins: a list is needed, of file names or of tables with name, sha256 and source"
        )
    found = []
    for i, entry in enumerate(values):
        place = f"{where}: plugins[{i}]"
        if isinstance(entry, Mapping) and "source" not in entry and "sha256" in entry:
            raise PluginError(f"{place}: {entry.get('name')!r} has no source here; export the run again from its study")
        try:
            found.append(decode(Plugin, entry, place))
        except ConfigError as error:
            raise PluginError(str(error)) from error
    check_together(found, where)
    return tuple(found)


def check_together(plugins: Sequence[Plugin], where: str) -> None:
    """Raise PluginError for plug-ins of one name, and for more than MAX_BYTES of source."""
    name, n = next(iter(Counter(plugin.name for plugin in plugins).most_common(1)), ("", 0))
    if n > 1:
        raise PluginError(f"{where}: plugins: {name!r} stands twice; rename one of the files")
    size = sum(len(plugin.source.encode()) for plugin in plugins)
    if size > MAX_BYTES:
        raise PluginError(
            f"{where}: plugins: {size:,} bytes together; at most {MAX_BYTES:,} are allowed: install them as a package"
        )


def referenced(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document whose plug-ins are tables of name and SHA-256, without sources."""
    if not document.get(PLUGINS):
        return dict(document)
    return {**document, PLUGINS: [{"name": each["name"], "sha256": each["sha256"]} for each in document[PLUGINS]]}


def joined(document: Any, sources: Mapping[str, str]) -> Any:
    """Return a document with the sources of its plug-ins put back. sources: by SHA-256.

    Tables that have a source, or whose SHA-256 is none of `sources`, are left as they are; decode_plugins refuses the
    latter.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get(PLUGINS), list | tuple):
        return document
    entries = [
        {**entry, "source": sources[entry["sha256"]]}
        if isinstance(entry, Mapping) and "source" not in entry and entry.get("sha256") in sources
        else entry
        for entry in document[PLUGINS]
    ]
    return {**document, PLUGINS: entries}


def sources_of(plugins: Iterable[Plugin]) -> dict[str, str]:
    """Return the sources of plug-ins by SHA-256, for `joined`."""
    return {plugin.sha256: plugin.source for plugin in plugins}
