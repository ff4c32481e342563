"""The documents about files and this machine: recordings, plug-ins, checks."""

from typing import ClassVar, Literal

from search.documents.base import Document, Part


class Variable(Part):
    """An array in a file, or a column of a text table."""

    name: str
    shape: list[int]
    dtype: str
    """As the writing program names it."""


class Channel(Part):
    """A channel of a recording."""

    name: str
    rms: float
    """Around the mean, in the unit of the file."""
    band_db: float | None
    """Power in 25-55 Hz relative to all power, in dB; null if the rate is too low."""
    kurtosis: float | None
    """3 for Gaussian noise; null for a constant channel."""
    contrast_db: float | None
    """By how much heart sounds stand above their floor; null if it was not measured."""
    flat: bool
    """Whether all samples are equal."""
    clipped: float
    """Share of samples at the extremes."""
    dropout_s: float
    """Seconds of equal samples."""
    hum_hz: float | None
    """50 or 60 if there is mains hum."""
    hum_db: float | None
    copy_of: str | None
    """An earlier channel that it is a copy of."""


class Recording(Part):
    """A file and the recording in it."""

    path: str
    variables: list[Variable]
    rate_hz: float
    duration_s: float
    channels: list[Channel]
    ecg_rate_hz: float | None
    """Null without an ECG."""
    n_beats: int | None
    """R peaks, annotated or found in the ECG; null without either."""
    heart_rate_bpm: float | None
    ecg_problem: str
    """Why the R peaks are no reference of a heart rate; "" if they are."""
    notes: list[str]
    """What the reader assumed, corrected or left out."""


class Recordings(Document):
    """What is in recordings. With problems the exit code is 2."""

    commands: ClassVar = ("data info drive.mat stop.mat --json",)

    document: Literal["recordings"]
    schema_version: Literal[1]
    recordings: list[Recording]
    problems: list[str]
    """A line for each file that could not be read."""


class SyntheticRecordings(Document):
    """Recordings that were generated."""

    commands: ClassVar = ("data synth --out data/demo --json",)

    document: Literal["synthetic_recordings"]
    schema_version: Literal[1]
    folder: str
    seed: int
    layout: str
    sessions: int
    files: list[str]


class Collection(Document):
    """A public collection that was converted."""

    commands: ClassVar = ("data get mscardio --from DIR --json",)

    document: Literal["collection"]
    schema_version: Literal[1]
    collection: str
    source: str
    folder: str
    table: str
    """File with a line for each recording."""
    recordings: int
    written: int
    existing: int
    """Written by an earlier command."""
    counts: dict[str, dict[str, int]]
    """Kind of recording, then grade (A, B, "refused", or "" of vehicles): number."""
    refused: dict[str, int]
    """Reason: number of recordings."""


class Check(Part):
    """A check of this machine."""

    name: str
    state: Literal["ok", "warning", "broken"]
    """With "warning" a search runs, perhaps not well; with "broken" it does not."""
    found: str
    fix: str
    """What to do; "" if there is nothing to do."""


class Checks(Document):
    """The checks of this machine. If one is broken the exit code is 1."""

    commands: ClassVar = ("doctor --json", "doctor demo --json")

    document: Literal["checks"]
    schema_version: Literal[1]
    ok: bool
    """Whether nothing is broken."""
    checks: list[Check]


class Rule(Part):
    """A rule of the contract of what a plug-in registers."""

    kind: str
    name: str
    """Of what is registered."""
    rule: str
    found: str
    """Why the rule is broken; "" if it is kept."""
    advice: str
    ok: bool


class PluginCheck(Document):
    """A plug-in against the contract. If a rule is broken the exit code is 2."""

    commands: ClassVar = ("check my_model.py --json",)

    document: Literal["plugin_check"]
    schema_version: Literal[1]
    file: str
    sha256: str
    ok: bool
    checks: list[Rule]


class Plugin(Part):
    """A plug-in."""

    name: str
    sha256: str
    lines: int
    trusted: bool
    """Whether this machine executes it, after the command."""
    source: str | None
    """With --show; else null."""


class Plugins(Document):
    """The plug-ins of a study, a run or a file."""

    commands: ClassVar = ("trust demo --json", "trust demo --show --json")

    document: Literal["plugins"]
    schema_version: Literal[1]
    plugins: list[Plugin]
