"""The documents about single runs: training, evaluation, comparison, denoised recordings."""

from typing import ClassVar, Literal

from pydantic import ConfigDict

from search.documents.base import Document, Part, Snr


class Training(Document):
    """A training that has ended: the last report of the best seed."""

    commands: ClassVar = ("train best.yaml -o runs/best --json",)

    document: Literal["training"]
    schema_version: Literal[1]
    folder: str
    metric: str
    """The score that chose the weights."""
    epoch: int
    """The last one, from 0."""
    n_epochs: int
    loss: float | None
    """Mean over the training steps of the epoch."""
    score: float | None
    """Of the last epoch, mean over the validation SNRs."""
    by_snr: dict[str, float | None]
    """SNR in dB, such as "-5" and "+0": the score."""
    best_score: float | None
    best_epoch: int | None
    """From 0."""
    learning_rate: float
    gain: float
    peak_share: float
    """Part of `peak_weight` that the ramp has reached."""
    snr_db: float | None
    """Mean SNR of the training mixtures; null for windows without noise."""
    n_windows: int
    """Training windows of the epoch."""
    seconds: float
    """Duration of the epoch."""
    precision: str
    output_db: float | None
    """Level of the validation estimates over the clean signal."""
    input_likeness: float | None
    """Correlation of the validation estimates with their input."""
    collapsed: str
    """Why the output is of no use; "" if it is not."""
    stopped: str
    """Why the run ended before `n_epochs`; "" if it did not."""


class ScoreRow(Part):
    """The scores of a method at an SNR. Beside the two keys it has one for each score: a number, or null."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    method: str
    """A model, or a classical method such as `zeros` and `identity`."""
    snr_db: Snr


class Evaluation(Document):
    """The scores of a run on held-out recordings, as in table.csv."""

    commands: ClassVar = ("evaluate runs/best --json",)

    document: Literal["evaluation"]
    schema_version: Literal[1]
    run: str
    folder: str
    """Of the results."""
    split: Literal["test", "validation"]
    rows: list[ScoreRow]


class Interval(Part):
    """A mean and its 95 % confidence interval; null where there is none."""

    mean: float | None
    low: float | None
    high: float | None


class Difference(Interval):
    """A mean difference from the reference, window by window."""

    excludes_zero: bool
    """Whether the interval lies on one side of zero."""


class PartLine(Part):
    """A score of a method on a part of the recordings at an SNR."""

    part: str
    """"100 km/h", a vehicle, a recording or a channel."""
    method: str
    snr_db: Snr
    score: str
    n_windows: int
    """Windows that have the score."""
    value: Interval


class EvaluationByPart(Document):
    """The scores of a run on each part of the held-out recordings."""

    commands: ClassVar = ("evaluate runs/best --by speed --json",)

    document: Literal["evaluation_by_part"]
    schema_version: Literal[1]
    run: str
    folder: str
    split: Literal["test", "validation"]
    by: Literal["speed", "vehicle", "recording", "channel"]
    lines: list[PartLine]


class ComparedLine(Part):
    """A score of a method at an SNR."""

    method: str
    score: str
    snr_db: Snr | None
    """Null for the mean over the SNRs, without the clean windows."""
    n_windows: int
    value: Interval
    difference: Difference | None
    """Null for the reference itself."""


class RunComparison(Document):
    """Trained runs, and classical methods, on the same mixture."""

    commands: ClassVar = ("compare runs/a runs/b --json",)

    document: Literal["run_comparison"]
    schema_version: Literal[1]
    reference: str
    """The method that differences are taken from."""
    methods: list[str]
    snrs_db: list[Snr]
    n_windows: int
    n_recordings: int
    split: Literal["test", "validation"]
    fingerprint: str
    """Of the recordings."""
    n_resamples: int
    """Of the bootstrap over recordings."""
    seed: int
    confidence: float
    """Of the intervals: 0.95."""
    lines: list[ComparedLine]


class HeartRate(Part):
    """A heart rate and what it is from."""

    n_beats: int
    bpm: float | None
    """Median; null if it cannot be said."""
    known_s: float
    """In how many seconds of the recording it is sure."""
    problem: str
    """Why it cannot be said; "" if it can."""


class Certainty(Part):
    """How beats were found, and how sure they are."""

    evidence: Literal["network", "envelope"]
    calibrated: bool
    threshold: float | None
    """Probability from which on a heart rate is sure; null if it never is."""
    sure_s: float
    """Seconds of the recording with a sure heart rate."""
    sure_share: float
    """The same as a share of the recording."""


class DenoisedRecording(Part):
    """A recording that was denoised."""

    output: str
    """File of the estimate."""
    samples: int
    rate_hz: float
    seconds: float
    recording: str
    files: list[str]
    """Everything written, the estimate first."""
    heart_rate: HeartRate | None
    """Of the estimate; null with --no-beats."""
    reference: HeartRate | None
    """Of the recording's R peaks or ECG; null without them."""
    beats: Certainty | None


class Denoised(DenoisedRecording, Document):
    """One recording that was denoised to a file."""

    commands: ClassVar = ("apply runs/best drive.wav -o estimate.wav --json",)

    document: Literal["denoised"]
    schema_version: Literal[1]


class FailedRecording(Part):
    """A recording that could not be denoised."""

    recording: str
    reason: str


class DenoisedRecordings(Document):
    """Recordings that were denoised to a folder. With problems the exit code is 2."""

    commands: ClassVar = ("apply runs/best recordings/ -o estimates --json",)

    document: Literal["denoised_recordings"]
    schema_version: Literal[1]
    run: str
    folder: str
    recordings: list[DenoisedRecording]
    problems: list[FailedRecording]


class PretrainedModel(Part):
    """A trained model that comes with Drivebeat."""

    name: str
    """As commands take it."""
    summary: str
    family: str
    rate_hz: float
    n_channels: int
    delay_s: float | None
    """How long after a sound its estimate is known; null for a model that needs whole windows."""
    folder: str
    card: str
    """File with its recordings, licences, scores and limits."""


class Pretrained(Document):
    """The trained models that come with Drivebeat, the default first."""

    commands: ClassVar = ("pretrained --json",)

    document: Literal["pretrained"]
    schema_version: Literal[1]
    models: list[PretrainedModel]


class LiveBeat(Part):
    """A beat of a signal that arrives. It does not change any more."""

    time_s: float
    """Of S1, in s from the first sample."""
    probability: float
    """That a beat is within 60 ms of that time."""


class LiveSecond(Document):
    """What is known at a second of a signal that arrives. Each line of the output is one."""

    commands: ClassVar = ("live runs/live --source tcp:9000 --json",)

    document: Literal["live_second"]
    schema_version: Literal[1]
    time_s: float
    """Of the last sample that came, in s from the first."""
    heart_rate_bpm: float | None
    """Of the 10 s before; null where it is not sure."""
    probability: float
    """That the most likely heart rate is right within 5 bpm."""
    has_signal: bool
    """Whether the channel to denoise has a signal."""
    beats: list[LiveBeat]
    """Those that are settled since the line before."""
    notes: list[str]
    """What was said since the line before."""


class QuantisationLoss(Part):
    """What 8 bits cost: the mean SI-SDR on validation windows."""

    fp32_db: float | None
    int8_db: float | None
    loss_db: float | None


class ExportedModel(Document):
    """A model that was written as ONNX."""

    commands: ClassVar = ("export-model runs/best -o model.onnx --check --json",)

    document: Literal["exported_model"]
    schema_version: Literal[1]
    model: str
    """File."""
    bytes: int
    metadata: dict[str, str]
    """As in the file: rate, band, channels, window, delay, SHA-256 of the weights, lineage."""
    relative_error: float | None
    """Of fp32 against PyTorch, relative to the largest sample; null without --check."""
    int8: QuantisationLoss | None
    vectors: str | None
    """File of the test vectors; null without --check."""
