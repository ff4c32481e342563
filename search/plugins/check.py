"""Check what a plug-in registers against the contract of its kind."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.readers.contract import RULES as READER_RULES
from data.readers.contract import Example
from data.readers.read import READERS
from models.base import DENOISERS
from models.contract import RULES as MODEL_RULES
from objectives.contract import LOSS_RULES, METRIC_RULES
from objectives.losses import LOSSES
from objectives.metrics import METRICS
from search.errors import PluginError
from search.sampling.contract import RULES as SAMPLER_RULES
from training.evaluation.contract import SCORE_RULES
from training.evaluation.scores import SCORES
from training.plugins.contract import CONFIG_RULES, problem
from training.plugins.load import load_plugins, registered_by
from training.plugins.plugin import Plugin


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one rule. found: why it is broken, "" where it is kept. advice: what to do then."""

    kind: str
    name: str
    rule: str
    found: str
    advice: str

    @property
    def ok(self) -> bool:
        """Whether the rule is kept."""
        return not self.found


def load_named(plugin: Plugin, path: Path) -> tuple[tuple[str, str], ...]:
    """Execute a plug-in whose file the user has named; return (kind, name) of what it registers.

    Raises PluginError where it cannot be loaded, or registers nothing.
    """
    load_plugins([plugin], str(path), path, allowed=[plugin.sha256])
    found = registered_by(plugin)
    if not found:
        raise PluginError(f"{path}: registers nothing; see the line with register in: drivebeat new model my_model.py")
    return found


def check_plugin(registered: Sequence[tuple[str, str]], example: Example | None = None) -> Iterator[Checked]:
    """Check everything that a plug-in has registered; yield the results, rule by rule.

    example: a file for a reader of its suffix; without it the reader's own example is taken. Raises PluginError for a
    reader without either, and for an example whose suffix none of the readers has.
    """
    suffixes = [name for kind, name in registered if kind == "reader"]
    if example is not None and example.path.suffix.lower() not in suffixes:
        raise PluginError(
            f"--example {example.path}: the plug-in has no reader for it; it has: {', '.join(suffixes) or 'none'}"
        )
    for kind, name in registered:
        with tempfile.TemporaryDirectory() as folder:
            for rules, subject in _subjects(kind, name, example, Path(folder)):
                for rule in rules:
                    yield Checked(kind, name, rule[0], problem(rule, subject), rule[2])


def _subjects(
    kind: str, name: str, example: Example | None, folder: Path
) -> Iterator[tuple[Sequence[tuple[str, Callable[[Any], str], str]], Any]]:
    """Yield the rules of a kind, with the subject that they are checked on. folder: for a reader's own example."""
    match kind:
        case "model":
            yield CONFIG_RULES, DENOISERS[name]
            yield MODEL_RULES, DENOISERS[name]
        case "loss":
            yield CONFIG_RULES, LOSSES[name]
            yield LOSS_RULES, LOSSES[name]
        case "metric":
            if name in METRICS:
                yield METRIC_RULES, METRICS[name]
            yield SCORE_RULES, SCORES[name]
        case "reader":
            given = example is not None and example.path.suffix.lower() == name
            yield READER_RULES, example if given else Example(_own_example(name, folder))
        case "sampler":
            yield SAMPLER_RULES, name


def _own_example(suffix: str, folder: Path) -> Path:
    """Write the example of a reader and return its path. Raises PluginError where it has none."""
    write = READERS[suffix].example
    if write is None:
        raise PluginError(f"reader {suffix}: has no example; name a file with --example, or give Format(example=...)")
    path = folder / f"example{suffix}"
    write(path)
    return path


def check_document(file: Path, plugin: Plugin, results: Sequence[Checked]) -> dict[str, Any]:
    """Return the results as plain values for JSON."""
    return {
        "file": str(file),
        "sha256": plugin.sha256,
        "ok": all(result.ok for result in results),
        "checks": [{**asdict(result), "ok": result.ok} for result in results],
    }


def check_line(result: Checked) -> str:
    """Return a result as one line."""
    if result.ok:
        return f"pass  {result.kind} {result.name}: {result.rule}"
    return f"FAIL  {result.kind} {result.name}: {result.rule}: {result.found}; {result.advice}"
