"""Find the plug-ins in a file, a run's folder or a stored study, without executing them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from search.errors import PluginError
from search.storage.open import explained
from search.storage.readable import open_readable
from search.study.record import load_records
from training.config import RUN_FILE
from training.documents import PARSERS, read_document
from training.plugins.load import load_plugins
from training.plugins.plugin import PLUGINS, SUFFIX, Plugin, decode_plugins, embedded, read_plugin
from training.plugins.trust import remember


def plugins_in_file(path: Path) -> tuple[Plugin, ...]:
    """Return the plug-ins in a document, or the one that `path` is. Raises PluginError, ConfigError."""
    if path.suffix == SUFFIX:
        return (read_plugin(path),)
    document = embedded(read_document(path), path)
    return decode_plugins(document.get(PLUGINS, ()) if isinstance(document, Mapping) else (), str(path))


def load_files(paths: Sequence[Path]) -> None:
    """Execute the plug-ins that a user names, and those in documents that are named.

    The file of a plug-in is trusted by naming it. Raises PluginError, ConfigError.
    """
    for path in paths:
        plugins = plugins_in_file(path)
        named = path.suffix == SUFFIX
        allowed = [plugin.sha256 for plugin in plugins] if named else ()
        load_plugins(plugins, str(path), path, allowed=allowed)
        if named:
            remember(plugins)


def find_plugins(target: str, url: str) -> tuple[Plugin, ...]:
    """Return the plug-ins of what the user names: a study, a run's folder, a document, or a plug-in's file.

    url: of the database that a study is looked for in.

    Raises PluginError where there is none, and as the readers of each kind do.
    """
    path = Path(target)
    if path.suffix == SUFFIX or path.suffix.lower() in PARSERS:
        found = plugins_in_file(path)
    elif (path / RUN_FILE).is_file() or (path.is_dir() and "/" in target):  # a study may be called as a folder is
        found = plugins_in_file(path / RUN_FILE)
    else:
        with explained(url):
            opened = open_readable(url)
            records = load_records(opened.storage, target)
            opened.close()
        plugins = [
            plugin
            for record in records
            for plugin in decode_plugins(record.document.get(PLUGINS, ()), f"study {record.name}")
        ]
        found = tuple({plugin.sha256: plugin for plugin in plugins}.values())
    if not found:
        raise PluginError(f"{target}: has no plug-in; nothing to trust")
    return found
