"""How sure the beats of a trained run are: the file `beats.json` beside its weights.

It holds calibrators of the decoder's probabilities (objectives.rhythm.confidence) and the probability from which on the
heart rate of 10 s is sure. training.evaluation.whole fits it on validation recordings.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from data.files import atomic, file_errors
from objectives.rhythm.confidence import Calibrator
from objectives.rhythm.durations import Floats
from objectives.rhythm.windows import THRESHOLD
from training.checkpoint import WEIGHTS, file_sha256
from training.decode import decode
from training.errors import ConfigError
from training.numbers import finite

BEATS_FILE = "beats.json"
SCHEMA_VERSION = 1
# Probability of the decoder itself from which on a heart rate is sure where nothing is calibrated.
DEFAULT_THRESHOLD = THRESHOLD

Evidence = Literal["network", "envelope"]
# What beats are found by, in words.
EVIDENCE: Mapping[Evidence, str] = MappingProxyType(
    {"network": "the model's network for beats", "envelope": "the envelope of the estimate"}
)


@dataclass(frozen=True, slots=True)
class FittedOn:
    """What a calibration was fitted on.

    weights_sha256: of the weights that it belongs to. data_fingerprint: of the run's recordings.
    n_recordings: clean ones of the validation split. minutes, noise_minutes: of mixtures, and of noise without a heart.
    n_spans, n_beats: cases. wrong_share: of the sure spans among them; None without any.
    """

    weights_sha256: str
    data_fingerprint: str
    snrs_db: tuple[float, ...]
    seed: int
    n_recordings: int
    minutes: float
    noise_minutes: float
    n_spans: int
    n_beats: int
    wrong_share: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the decoder's probabilities are read.

    spans, beats: calibrators of the probabilities of heart rates and of beats; None leaves them as they are.
    threshold: probability, after calibration, from which on the heart rate of a span is sure; infinite for never.
    evidence: what beats are to be found by; None for the network where the model has one, else the envelope.
    fitted_on: None for the default.
    """

    threshold: float = DEFAULT_THRESHOLD
    spans: Calibrator | None = None
    beats: Calibrator | None = None
    evidence: Evidence | None = None
    fitted_on: FittedOn | None = None

    def of_spans(self, probability: Floats) -> Floats:
        """Return the probabilities of heart rates, calibrated."""
        return probability if self.spans is None else self.spans(probability)

    def of_beats(self, probability: Floats) -> Floats:
        """Return the probabilities of beats, calibrated."""
        return probability if self.beats is None else self.beats(probability)

    @property
    def described(self) -> str:
        """Return in words from where on a heart rate is sure, and what says so."""
        sure = (
            f"a heart rate is sure from a probability of {self.threshold:.2f} on"
            if math.isfinite(self.threshold)
            else "no heart rate is sure"
        )
        if self.fitted_on is None:
            return f"{sure} (the default: the weights are not calibrated)"
        minutes = self.fitted_on.minutes + self.fitted_on.noise_minutes
        return f"{sure} (calibrated on {minutes:.0f} min of its validation recordings)"


DEFAULT = Calibration()


def without_fit(calibration: Calibration) -> Calibration:
    """Return the calibration of weights that changed since it was fitted: the default, by the same evidence."""
    return Calibration(evidence=calibration.evidence)


def write_calibration(calibration: Calibration, folder: Path) -> None:
    """Write `beats.json` into the folder of a run, atomically.

    Raises FileError if it cannot be written.
    """
    assert calibration.spans is not None and calibration.beats is not None and calibration.fitted_on is not None
    document = {
        "schema_version": SCHEMA_VERSION,
        "evidence": calibration.evidence,
        **finite({"threshold": calibration.threshold}),
        "spans": calibration.spans.to_json(),
        "beats": calibration.beats.to_json(),
        "fitted_on": asdict(calibration.fitted_on),
    }
    with atomic(folder / BEATS_FILE) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_calibration(folder: Path) -> Calibration:
    """Return the calibration in the folder of a run for its weights; DEFAULT if it has none for them.

    Raises ConfigError for a file that is not a calibration of this version, FileError if it cannot be read.
    """
    path = folder / BEATS_FILE
    with file_errors(path, "read"):
        if not path.exists():
            return DEFAULT
        content = path.read_bytes()
    try:
        document: object = json.loads(content)
    except ValueError as error:
        raise _refusal(path, f"is no JSON ({error})") from error
    if not isinstance(document, Mapping):
        raise _refusal(path, f"holds a {type(document).__name__}, not a table")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise _refusal(
            path, f"schema_version is {document.get('schema_version')!r}; this Drivebeat reads {SCHEMA_VERSION}"
        )
    kept = _decoded(document, path)
    assert kept.fitted_on is not None
    return kept if kept.fitted_on.weights_sha256 == file_sha256(folder / WEIGHTS) else DEFAULT


def _decoded(document: Mapping[str, Any], path: Path) -> Calibration:
    keys = {"schema_version", "evidence", "threshold", "spans", "beats", "fitted_on"}
    if set(document) != keys:
        raise _refusal(path, f"has the keys {', '.join(sorted(document))}; {', '.join(sorted(keys))} are needed")
    threshold, evidence = document["threshold"], document["evidence"]
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not (threshold is None or (is_number and 0 <= threshold <= 1)):
        raise _refusal(path, f"threshold is {threshold!r}; a number from 0 to 1, or null for never, is needed")
    if evidence not in get_args(Evidence):
        raise _refusal(path, f"evidence is {evidence!r}; {' or '.join(get_args(Evidence))} is needed")
    try:
        spans, beats = (Calibrator.from_json(document[name]) for name in ("spans", "beats"))
    except (TypeError, AttributeError, ValueError) as error:
        raise _refusal(path, str(error)) from error
    fitted_on = decode(FittedOn, document["fitted_on"], f"{path}: fitted_on")
    return Calibration(math.inf if threshold is None else float(threshold), spans, beats, evidence, fitted_on)


def _refusal(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"{path}: {' '.join(reason.split())}; remove it, and evaluate the run to make it again")
