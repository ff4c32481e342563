"""Evaluate a model on parts of the held-out recordings: by speed, vehicle, recording or channel."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from data.config import DataConfig, HeldOutConfig, Source
from data.corpus import Segment, Split, load
from data.errors import printable
from data.files import atomic
from data.mixing.mixture import HeldOut, held_out
from training.channels import names_of
from training.errors import ConfigError
from training.evaluation.intervals import Interval, bootstrap_mean
from training.evaluation.scores import SCORES, values_by_window
from training.evaluation.shown import csv_numbers, plain_snr, shown_value
from training.numbers import finite
from training.report import snr_heading

By = Literal["speed", "vehicle", "recording", "channel"]
NO_SPEED = "no speed in the name"
Estimate = Callable[[HeldOut], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class PartLine:
    """A score of a method on one part of the recordings at one SNR, which is infinite for the clean windows.

    part: "100 km/h", a vehicle, a recording or a channel.
    n_windows: windows that have the score.
    value: mean and confidence interval, by a bootstrap over the clean recordings.
    """

    part: str
    method: str
    snr_db: float
    score: str
    n_windows: int
    value: Interval


def evaluate_by(
    by: str, config: DataConfig, split: str, plan: HeldOutConfig, estimate: Estimate, scores: Sequence[str]
) -> tuple[list[PartLine], tuple[str, ...]]:
    """Return the scores on each part of the recordings in `split`, in order of the parts' names, and the notes.

    Each part gets a held-out mixture of its own with the windows of `plan`: for a speed or a vehicle, of its noise with
    all clean recordings; for a recording, of it with all recordings of the other kind; for a channel, that channel is
    cleaned and the others are its references. The clean windows without noise are scored too.

    by: "speed" takes the number before "km" in the name of a noise recording or of its folders; "vehicle" its group,
        else its name.
    estimate: returns method -> float32[snr, window, time] for a mixture.

    Raises ConfigError for another `by`, and for channels that the config does not name, or not for both kinds.
    """
    if by not in get_args(By):
        raise ConfigError(f"--by is {by!r}; one of {', '.join(get_args(By))} is needed")
    if by == "channel":
        loaded = {name: (load(turned, (split,)), turned) for name, turned in _by_channel(config).items()}
        splits = {name: (corpus.splits[split], turned) for name, (corpus, turned) in loaded.items()}
        notes = dict.fromkeys(note for corpus, _ in loaded.values() for note in corpus.notes)
    else:
        corpus = load(config, (split,))
        splits = {name: (part, config) for name, part in _parts(by, corpus.splits[split]).items()}
        notes = dict.fromkeys(corpus.notes)
    lines = []
    for name, (part, used) in splits.items():
        mixture = held_out(part, used, plan, clean_too=True)
        for method, estimates in estimate(mixture).items():
            for score in scores:
                for snr_db, values in zip(mixture.snrs_db, values_by_window(score, mixture, estimates), strict=True):
                    n_windows = int(np.count_nonzero(~np.isnan(values)))
                    value = bootstrap_mean(values, mixture.recording)
                    lines.append(PartLine(name, method, snr_db, score, n_windows, value))
    return lines, tuple(notes)


def speed_of(source: Path) -> str:
    """Return the speed in the name of a recording, else in its folders from the nearest: "100 km/h"."""
    for name in (source.stem, *reversed(source.parts[:-1])):
        if found := re.search(r"(\d+)[\s_-]?km", name, re.IGNORECASE):
            return f"{int(found[1])} km/h"
    return NO_SPEED


def _parts(by: str, whole: Split) -> dict[str, Split]:
    if by == "recording":
        clean, noise = (unique_names(segments) for segments in (whole.clean, whole.noise))
        parts = {f"clean {name}": Split((one,), whole.noise) for name, one in zip(clean, whole.clean, strict=True)}
        return parts | {
            f"noise {name}": Split(whole.clean, (one,)) for name, one in zip(noise, whole.noise, strict=True)
        }
    grouped: dict[str, list[Segment]] = {}
    for name, segment in zip(_names(whole.noise), whole.noise, strict=True):
        key = speed_of(segment.source) if by == "speed" else segment.group or name
        grouped.setdefault(key, []).append(segment)
    ordered = sorted(grouped.items(), key=lambda item: _in_order(item[0]))
    return {key: Split(whole.clean, tuple(segments)) for key, segments in ordered}


def _in_order(name: str) -> tuple[bool, int, str]:
    """Return a sort key by which 30 km/h comes before 100 km/h, and names without a number come last."""
    number = re.match(r"\d+", name)
    return number is None, int(number[0]) if number else 0, name


def _names(segments: Sequence[Segment]) -> list[str]:
    """Return the name of each segment's file, with as many folders as make those of different files differ."""
    sources = {segment.source for segment in segments}
    depth, deepest = 1, max((len(source.parts) for source in sources), default=1)
    while depth < deepest and len({source.parts[-depth:] for source in sources}) < len(sources):
        depth += 1
    return ["/".join(segment.source.parts[-depth:]) for segment in segments]


def unique_names(segments: Sequence[Segment]) -> list[str]:
    """Return names that all differ: sources may take several recordings, of other channels or variables, of a file."""
    seen: Counter[str] = Counter()
    unique = []
    for name in _names(segments):
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return unique


def _by_channel(config: DataConfig) -> dict[str, DataConfig]:
    """Return channel -> config in which it is the one to clean. Raises ConfigError without names."""
    names = list(dict.fromkeys(name for names in names_of(config) for name in names))
    if not names:
        raise ConfigError("--by channel needs the channels of the recordings by name; list them under data in channels")
    turned = {}
    for name in names:
        clean, noise = ([_led_by(source, name) for source in sources] for sources in (config.clean, config.noise))
        found = [[source for source in sources if source is not None] for sources in (clean, noise)]
        if all(found):
            turned[name] = replace(config, clean=tuple(found[0]), noise=tuple(found[1]))
    if not turned:
        raise ConfigError(
            f"--by channel needs a channel that clean and noise recordings have by the same name; named: "
            f"{', '.join(names)}; name it in both, in channels under data"
        )
    return turned


def _led_by(source: Source, name: str) -> Source | None:
    """Return the source with channel `name` first; None if it does not name it."""
    named = source.channels or source.variables
    if name not in named:
        return None
    order = (name, *(other for other in named if other != name))
    return replace(source, channels=order) if source.channels else replace(source, variables=order)


def part_table(lines: Sequence[PartLine], score: str, method: str, by: str) -> Table:
    """Return a table of one score of one method: a row per part, a column per SNR; intervals stand under the means.

    Long names are folded, and numbers are not: the table of four SNRs is readable at 80 columns.
    """
    own = [line for line in lines if (line.score, line.method) == (score, method)]
    snrs_db = list(dict.fromkeys(line.snr_db for line in own))
    digits = 1 if SCORES[score].unit == "dB" else 2
    unit = f" in {SCORES[score].unit}" if SCORES[score].unit else ""
    title = f"{method}: {score}{unit}, mean and 95 % interval of n windows"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column(by, overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for snr_db in snrs_db:
        table.add_column(snr_heading(snr_db), justify="right", no_wrap=True)
    if all(np.isnan(line.value.low) for line in own):
        table.caption = "no interval: it is over clean recordings, and each part has one"
        table.caption_justify = "left"
    for part in dict.fromkeys(line.part for line in own):
        row = {line.snr_db: line for line in own if line.part == part}
        cells = [shown(row[snr_db], digits) for snr_db in snrs_db]
        table.add_row(Text(printable(part)), str(max(line.n_windows for line in row.values())), *cells)
    return table


def shown(line: PartLine, digits: int = 2) -> str:
    """Return a mean and, below it, its interval if it has one."""
    return "\n".join(filter(None, shown_value(line.score, line.snr_db, line.value, digits)))


def part_document(line: PartLine) -> dict[str, Any]:
    """Return a line as plain values for JSON: unknown numbers are None, and the SNR of clean windows is "inf"."""
    return {**asdict(line), "snr_db": plain_snr(line.snr_db), "value": finite(asdict(line.value))}


def write_parts(lines: Sequence[PartLine], path: Path) -> None:
    """Write the lines as CSV, atomically."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["part", "method", "snr_db", "score", "n_windows", "mean", "low", "high"])
        for line in lines:
            value = line.value
            numbers = csv_numbers(value.mean, value.low, value.high, snr_db=line.snr_db)
            writer.writerow([line.part, line.method, f"{line.snr_db:g}", line.score, line.n_windows, *numbers])
