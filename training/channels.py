"""Find the channels of a recording that a trained model needs: by the names in its run.yaml."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data.config import DataConfig, Source
from data.recording import Recording
from training.errors import ConfigError


def names_of(data: DataConfig) -> tuple[tuple[str, ...], ...]:
    """Return the lists of channels that a model was trained on, each once: those with all of its channels.

    The noise comes first, since clean recordings may lack references. Empty if the config names no channels.
    """
    named = [source.channels or source.variables for source in (*data.noise, *data.clean)]
    return tuple(dict.fromkeys(names for names in named if names and len(names) == data.n_channels))


def choose(data: DataConfig, where: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the channels of a recording for a model: the one to clean, then its references.

    They are those that have the names in the model's run.yaml, ignoring case. The first ones are taken if that config
    names none, or if the file has no names of its own (ch1, ch2 ... in this order). A model that may lack references
    (may_lack_references) takes those that are there.

    data: of the model's run.
    where: the recording's file.
    names: of its channels.

    Raises ConfigError, with both lists, if the names differ or there are too few channels.
    """
    known = {name.casefold(): name for name in names}
    lists = names_of(data)
    for wanted in lists:
        if all(name.casefold() in known for name in wanted):
            return tuple(known[name.casefold()] for name in wanted)
    if may_lack_references(data):
        for first, *references in lists:
            if first.casefold() in known:
                return tuple(known[name.casefold()] for name in (first, *references) if name.casefold() in known)
    unnamed = all(re.fullmatch(rf"ch{i}", name) for i, name in enumerate(names, start=1))
    if (unnamed or not lists) and (len(names) >= data.n_channels or may_lack_references(data)):
        return tuple(names[: data.n_channels])
    trained = " or ".join(_listed(wanted) for wanted in lists) or f"{data.n_channels} channels"
    raise ConfigError(
        f"{where}: has the channels {', '.join(names)}; the model was trained on {trained}; name the channel to clean "
        "and then its references by --channels, or channels= in Python"
    )


def may_lack_references(data: DataConfig) -> bool:
    """Return whether a model was trained with references that are silent for a window, so that it can do without."""
    return data.augment.reference_dropout > 0


def check_channels(data: DataConfig, recording: Recording) -> None:
    """Check that a recording has the model's channels; references may be missing if may_lack_references.

    Raises ConfigError.
    """
    n_found, n_needed = len(recording.channels), data.n_channels
    if n_found != n_needed and not (n_found < n_needed and may_lack_references(data)):
        raise ConfigError(
            f"{recording.source}: {n_found} channel{'s' if n_found > 1 else ''} ({', '.join(recording.channels)}), the "
            f"model needs {n_needed}: the one to clean first, then its references (--channels)"
        )


def with_note_of_missing(data: DataConfig, recording: Recording) -> Recording:
    """Return the recording with a note of the references that it lacks, if it lacks any."""
    n_missing = data.n_channels - len(recording.channels)
    if n_missing <= 0 or not may_lack_references(data):
        return recording
    missing = (
        f"{n_missing} of the model's {data.n_channels - 1} references {'is' if n_missing == 1 else 'are'} missing and "
        "taken as silent; the estimate is less clean than with all"
    )
    return replace(recording, notes=(*recording.notes, missing))


def described(channels: Sequence[str]) -> str:
    """Return which channel is cleaned and which are references, in one line."""
    references = f"; references: {', '.join(channels[1:])}" if len(channels) > 1 else ""
    return f"cleaning channel {channels[0]}{references}"


def described_all(data: DataConfig) -> str:
    """Return which channels of the recordings of `data` are cleaned and which are references, in one line."""
    return " or ".join(map(described, names_of(data))) or "cleaning the first channel of each recording"


def with_names(sources: tuple[Source, ...], data: DataConfig, where: Path) -> tuple[Source, ...]:
    """Return the sources of other data for a model that was trained on `data`.

    A source that names no channels gets those of the model, if all its recordings were named alike. Raises ConfigError
    if a source names the model's channels in another order.
    """
    lists = names_of(data)
    found = []
    for source in sources:
        named = source.channels or source.variables
        if not named and len(lists) == 1:
            source = replace(source, channels=lists[0])
        for wanted in lists:
            if set(named) == set(wanted) and named != wanted:
                raise ConfigError(
                    f"{where}: data: channels are {', '.join(named)}; the model was trained on {_listed(wanted)}; "
                    "list them in that order"
                )
        found.append(source)
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    references = f" with {', '.join(names[1:])} as references" if len(names) > 1 else ""
    return f"{names[0]}{references}"
