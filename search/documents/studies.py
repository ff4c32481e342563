"""The documents about searches: studies, their trials, workers, model families."""

from typing import ClassVar, Literal

from search.documents.base import Document, Part

Direction = Literal["maximize", "minimize"]
Value = bool | int | float | str


class RunningTrial(Part):
    """A trial that runs."""

    number: int
    """From 0."""
    worker: str
    """Its worker as pid@host; "" while no worker has it."""
    device: str
    """cpu, or cuda: with the number of the GPU and its name; "" while no worker has it."""
    epoch: int
    """Number of finished epochs."""
    n_epochs: int
    """The most epochs that a trial of the study has."""
    score: float | None
    """At its last report."""
    seconds: float | None
    """Since its start."""


class EndedTrial(Part):
    """A trial that ended a short time ago."""

    number: int
    fate: Literal["complete", "pruned", "infeasible", "failed"]
    score: float | None
    """Of a complete trial; else at its last report."""
    ended_s_ago: float
    """Seconds since its end."""
    reason: str
    """Why it was pruned, is infeasible or failed; "" if nothing is known."""


class BestTrial(Part):
    """The best complete, feasible trial."""

    number: int
    score: float
    ended_s_ago: float | None
    """Seconds since its end."""


class StudyState(Part):
    """The state of a study now."""

    name: str
    metric: str
    """The score that the study searches by."""
    direction: Direction
    """Whether higher or lower scores are better."""
    budget: int
    """Number of trials that the study may finish."""
    complete: int
    pruned: int
    infeasible: int
    """Over a limit of the study; they count in the budget."""
    failed: int
    """Failed trials do not count in the budget."""
    others: int
    """Ended trials that another program added; they do not count in the budget."""
    running: list[RunningTrial]
    best_trial: BestTrial | None
    recent: list[EndedTrial]
    """The trials that ended last, at least five, and all of the last minute."""
    n_workers: int
    """Living workers that have a trial of the study."""
    last_hour: int
    """Number of trials that ended in the last hour."""
    eta_s: float | None
    """Estimated seconds until the budget is spent; null without ended trials or workers."""
    stop_reason: str
    """Why no further trial will start; "" if one will."""
    problem: str
    """Why plug-ins of the study cannot be executed on this machine; "" if they can."""


class Studies(Document):
    """The states of studies: of those named, or of all in the database."""

    commands: ClassVar = ("watch demo --once --json", "show --json")

    document: Literal["studies"]
    schema_version: Literal[1]
    studies: list[StudyState]
    problems: dict[str, str]
    """Name of a study that cannot be read: the reason."""


class EpochScore(Part):
    """The score that a trial reported for an epoch."""

    epoch: int
    """From 1."""
    score: float | None


class Trial(Part):
    """A trial of a study."""

    number: int
    """From 0."""
    state: Literal["waiting", "running", "complete", "pruned", "infeasible", "failed"]
    value: float | None
    """Its score; null unless it is complete or pruned after a report."""
    epochs: int
    """Number of epochs that it reported."""
    best_epoch: int | None
    """The epoch of its score, from 1."""
    n_parameters: int | None
    """Of its model."""
    latency_ms: float | None
    """Of its model for one window; null unless the study limits it."""
    params: dict[str, Value | None]
    """Its sampled parameters."""
    scores: dict[str, float | None]
    """Every stored score: its mean, such as si_sdr_db, and at an SNR in dB, such as si_sdr_db@-5."""
    reports: list[EpochScore]
    """Its scores so far, one for each epoch."""
    started: str | None
    """ISO 8601, with the offset of this machine's time zone."""
    ended: str | None
    duration_s: float | None
    """From start to end, with the time in which no worker had it."""
    training_s: float | None
    """Time spent in training."""
    worker: str | None
    """The one that runs it, or ran it last, as host:pid:start."""
    device: str | None
    """cpu, cuda:0 ..."""
    reason: str | None
    """Why it has its state."""


class StudyTrials(Part):
    """A study with all its trials."""

    name: str
    identity: str
    """Stays when the study is renamed."""
    family: str
    metric: str
    """The score that the study searches by."""
    direction: Direction
    """Whether higher or lower scores are better."""
    best_trial: int | None
    """Number of the best complete, feasible trial."""
    trials: list[Trial]
    """By number."""


class Trials(Document):
    """All trials of a study, or of all studies of a study file."""

    commands: ClassVar = ("show demo --json",)

    document: Literal["trials"]
    schema_version: Literal[1]
    studies: list[StudyTrials]


class StudyResult(Part):
    """The result of a study in a comparison."""

    study: str
    family: str
    metric: str
    """The score that the study searches by."""
    mixture: str
    """Letter of the metric, recordings and mixture; only scores with the same letter compare."""
    budget: int
    """Number of trials that the study may finish."""
    spent: bool
    """Whether no further trial will start."""
    complete: int
    pruned: int
    infeasible: int
    failed: int
    finished: int
    """complete + pruned + infeasible."""
    best: float | None
    """Score of the best feasible trial; the next four are of that trial."""
    best_trial: int | None
    si_sdr_db: dict[str, float]
    """SNR in dB, such as "-5" and "+0": SI-SDR in dB."""
    n_parameters: int | None
    """Of its model."""
    latency_ms: float | None
    """Of one window on one CPU thread, measured by the command."""
    trial_s: float | None
    """Median training time of the complete trials."""
    total_s: float
    """Training time of all trials."""


class StudyComparison(Document):
    """Studies beside one another."""

    commands: ClassVar = ("show all_families --across --json", "show demo other --json")

    document: Literal["study_comparison"]
    schema_version: Literal[1]
    results: list[StudyResult]
    """Best first within each mixture."""
    differences: dict[str, list[str]]
    """Letter of a mixture: what differs from mixture A."""


class ModelParameter(Part):
    """A parameter of a run."""

    name: str
    type: str
    range: str | None
    """Where a search looks; null if it is searched only where a study gives a range."""
    default: Value | None


class Conditions(Part):
    """The signal that costs are measured for."""

    rate_hz: float
    window_samples: int
    n_channels: int
    threads: int


class Family(Part):
    """A model family at its defaults."""

    name: str
    n_parameters: int
    macs_per_second: float
    """Multiply-accumulates per second of signal, without FFTs."""
    latency_ms: float
    """Of one window on the CPU."""
    receptive_field_s: float | None
    """Length of the input that a sample of the estimate depends on; null for the whole window."""
    step_ms: float
    """Of one training step on four windows."""
    parameters: list[ModelParameter]


class Models(Document):
    """The model families, with costs and parameters, and the parameters of losses and of every run."""

    commands: ClassVar = ("show --models --json", "show --model wave_unet --json")

    document: Literal["models"]
    schema_version: Literal[1]
    at: Conditions
    """What costs are measured for."""
    families: list[Family]
    losses: dict[str, list[ModelParameter]]
    shared: dict[str, list[ModelParameter]]
    """Section of a run's config: its parameters."""


class Worker(Part):
    """A worker."""

    worker: str
    """Its unique name."""
    host: str
    pid: int
    device: str
    """cpu, or cuda: with the number of the GPU and its name."""
    state: Literal["working", "waiting", "stopped", "died"]
    study: str | None
    """Name of the study that it works on."""
    trial: int | None
    epoch: int | None
    """The last that its trial finished, from 0."""
    score: float | None
    """Of that epoch."""
    started_s_ago: float
    """Seconds since it started."""
    seen_s_ago: float
    """Since its last heartbeat."""


class Workers(Document):
    """The workers of the last week."""

    commands: ClassVar = ("workers --json",)

    document: Literal["workers"]
    schema_version: Literal[1]
    workers: list[Worker]
