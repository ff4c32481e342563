"""The config of a run as one frozen value, and its document: a .yaml, .json or .toml file.

RunConfig holds a section for each part of a run; the classes of the sections `init` and `fit` are here, the others
stand with the code that they configure. `read_run` and `write_run` convert between a RunConfig and a file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from optuna.distributions import CategoricalDistribution
from torch import nn

from data.config import ADDED, DataConfig
from data.entry_points import load_installed
from data.errors import near
from models import DENOISERS, DenoiserConfig
from models.beats import BeatsConfig
from models.front import FrontConfig
from models.live import LiveConfig
from models.parts.streaming import CausalDenoiser
from objectives.losses import LOSSES, LossConfig
from training.decode import decode, decode_named, encode
from training.delay import Delay, delay_of
from training.documents import LongText, read_document, values_of, with_base, write_document
from training.errors import ConfigError
from training.evaluation.scores import SCORES
from training.plugins.load import load_plugins
from training.plugins.plugin import PLUGINS, Plugin, decode_plugins, embedded, joined, sources_of
from training.schedule import OptimiserConfig, ScheduleConfig

RUN_FILE = "run.yaml"  # in the folder of a run
SCHEMA_VERSION = 1
PROVENANCE = "provenance"  # the key in documents
MAX_SHOWN = 100  # characters of a text of --set in messages


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An earlier run in a chain of runs; fields that its folder does not record are empty.

    weights_sha256: SHA-256 of the weights file that the next run started from.
    config_sha256: of the run's document (training.lineage.config_sha256).
    data_fingerprint: of its recordings.
    score: name of the score that its weights were chosen by.
    best_score: its value for these weights.
    """

    weights_sha256: str
    config_sha256: str = ""
    data_fingerprint: str = ""
    score: str = ""
    best_score: float | None = None


@dataclass(frozen=True, slots=True)
class InitConfig:
    """The weights that a run starts from; by default they are drawn at random from its seed.

    weights: a weights file (.safetensors, .pth), the folder of a run, or `pretrained` (training.pretrained).
    sha256: of that file; any other file is refused. "" accepts any file.
    partial: load the tensors that fit and leave the others at random, instead of refusing the file.
    lineage: the earlier runs of the chain, oldest first; the last one made the weights.

    Raises ValueError if the other fields are given without `weights`.
    """

    weights: str = ""
    sha256: str = ""
    partial: bool = False
    lineage: tuple[Ancestor, ...] = ()

    def __post_init__(self) -> None:
        if not self.weights and (self.sha256 or self.lineage or self.partial):
            raise ValueError("sha256, partial and lineage go with weights; name a weights file or a run's folder")


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How long, on which device and in which precision a run trains.

    steps_per_epoch: None takes one pass over the clean windows.
    seed: of the initial weights and of all random draws in training.
    score: the best weights are chosen by this score, averaged over the validation SNRs. A name in
        training.evaluation.scores.SCORES that an all-zero output cannot win.
    device: "auto", "cpu", "cuda" or "cuda:N".
    precision: "fp32"; "bf16" and "fp16" run the forward pass under autocast, fp16 with a scaled loss and on CUDA only;
        "tf32" lets CUDA round the inputs of products and convolutions to 10 bits of mantissa.
    threads: CPU threads; None takes torch's default. Results are bit-equal only for equal numbers of threads.
    ema_decay: evaluate and save the moving average of the weights (training.ema); 0 uses the weights themselves.
    patience: end the run after this many epochs without a better score, counted from the end of the ramps; None
        trains for all epochs.

    Raises ValueError for a value out of range, an unknown score and a score that an all-zero output wins.
    """

    epochs: int = 40
    batch_size: int = 64
    steps_per_epoch: int | None = None
    seed: int = 0
    score: str = "si_sdr_db"
    device: str = "auto"
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    threads: int | None = None
    ema_decay: Annotated[float, CategoricalDistribution((0.0, 0.99, 0.995, 0.999))] = 0.0
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "steps_per_epoch", "threads", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; at least 1 is needed")
        if self.score not in SCORES:
            load_installed("metric")
        score = SCORES.get(self.score)
        if score is None:
            raise ValueError(f"unknown score {self.score!r}{near(self.score, SCORES)}; known: {', '.join(SCORES)}")
        if score.silence_wins:
            safe = ", ".join(name for name, score in SCORES.items() if not score.silence_wins)
            raise ValueError(f"score {self.score!r} is won by an all-zero output; choose by one of {safe}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; a share from 0 (off) to below 1 is needed, 0.999 say")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; a whole number from 0 up is needed")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device is {self.device!r}; auto, cpu, cuda or cuda:N is needed")


@dataclass(frozen=True, slots=True)
class FinalConfig:
    """How the best trial of a study is trained for use, after the search: section `final` of a study and of its export.

    epochs: None takes FINAL_EPOCHS times those of the trial.
    patience, ema_decay: as in FitConfig; None takes those of the trial.
    seeds: number of trainings, with the trial's seed and the next ones; the best by the validation score is kept.

    Raises ValueError for a value out of range.
    """

    epochs: int | None = None
    patience: int | None = None
    ema_decay: float | None = None
    seeds: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "seeds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; at least 1 is needed")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; a share from 0 (off) to below 1 is needed, 0.999 say")

    def resolved(self, trial: FitConfig) -> "FinalConfig":
        """Return this section without None, but for a patience that the trial does not have either."""
        epochs = self.epochs if self.epochs is not None else FINAL_EPOCHS * trial.epochs
        patience = self.patience if self.patience is not None else trial.patience
        ema_decay = self.ema_decay if self.ema_decay is not None else trial.ema_decay
        return FinalConfig(epochs, patience, ema_decay, self.seeds)


FINAL_EPOCHS = 3


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that determines the result of a run.

    plugins: are executed before the other sections are decoded. final: how to train it for use, in the export of a
    study; it replaces values of `fit`, see finalised.
    """

    data: DataConfig
    model: DenoiserConfig
    loss: LossConfig
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    init: InitConfig = field(default_factory=InitConfig, metadata={ADDED: True})
    front: FrontConfig = field(default_factory=FrontConfig, metadata={ADDED: True})
    final: FinalConfig | None = field(default=None, metadata={ADDED: True})
    plugins: tuple[Plugin, ...] = field(default=(), metadata={ADDED: True})
    beats: BeatsConfig = field(default_factory=BeatsConfig, metadata={ADDED: True})
    live: LiveConfig = field(default_factory=LiveConfig, metadata={ADDED: True})

    def build_model(self, n_channels: int) -> nn.Module:
        """Build the denoiser, the front end before it and the network for beats beside it, or the causal model.

        Weights are drawn from torch's global generator. Raises ConfigError for parts that do not go together.
        """
        try:
            if self.live.causal:
                return self._build_causal(n_channels)
            return self.beats.build(self.front.build(self.model, n_channels, self.beats.n_more), n_channels)
        except ValueError as error:
            raise ConfigError(f"model {self.model.name}: {error}") from error

    @property
    def delay(self) -> Delay | None:
        """Return the algorithmic delay of a causal run's path for recordings of any rate; None for other runs.

        Raises ConfigError as build_model does.
        """
        if not self.live.causal:
            return None
        with torch.random.fork_rng(devices=[]):  # the weights are of no use
            model = self.build_model(self.data.n_channels)
        assert isinstance(model, CausalDenoiser)
        return delay_of(model, self.data)

    def _build_causal(self, n_channels: int) -> CausalDenoiser:
        """Build the causal model. Raises ValueError for parts that have no causal form and for too long a delay."""
        if self.beats.beats_weight > 0:
            raise ValueError("the network for beats has no causal form; set beats_weight to 0 or causal to false")
        if self.data.band_hz is not None and self.data.band_phase != "minimum":
            raise ValueError(
                f'band_phase is "{self.data.band_phase}"; a causal model needs band_phase = "minimum" in section data'
            )
        model = self.live.build(self.model, self.front, n_channels, self.data.rate_hz)
        delay_s = delay_of(model, self.data).total_s
        if delay_s > self.live.max_delay_s:
            raise ValueError(
                f"the causal path has a delay of {delay_s:.3f} s, more than max_delay_s = {self.live.max_delay_s:g}; "
                "lower lookahead_s or the length of its frames, or raise max_delay_s"
            )
        return model


# The sections with a fixed class; `model` and `loss` name theirs.
SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "optimiser": OptimiserConfig,
    "schedule": ScheduleConfig,
    "fit": FitConfig,
    "init": InitConfig,
    "front": FrontConfig,
    "final": FinalConfig,
    "beats": BeatsConfig,
    "live": LiveConfig,
}


def finalised(run: RunConfig) -> tuple[RunConfig, ...]:
    """Return the trainings, of different seeds, that the section `final` of `run` asks for; `run` itself without it."""
    if run.final is None:
        return (run,)
    final, alone = run.final.resolved(run.fit), as_trial(run)
    assert final.epochs is not None and final.ema_decay is not None
    fit = replace(run.fit, epochs=final.epochs, patience=final.patience, ema_decay=final.ema_decay)
    return tuple(replace(alone, fit=replace(fit, seed=fit.seed + i)) for i in range(final.seeds))


def as_trial(run: RunConfig) -> RunConfig:
    """Return `run` as its trial was trained: without the section `final`."""
    return replace(run, final=None)


def read_run(path: Path) -> RunConfig:
    """Read a RunConfig from a .yaml, .json or .toml file, and execute its plug-ins. Raises ConfigError, PluginError."""
    return read_run_with_provenance(path)[0]


def read_run_with_provenance(path: Path) -> tuple[RunConfig, Mapping[str, Any]]:
    """Read a RunConfig and its provenance from a file, and execute its plug-ins. Raises ConfigError, PluginError."""
    return prepare_run(read_document(path), path)


def prepare_run(document: object, path: Path) -> tuple[RunConfig, Mapping[str, Any]]:
    """Return the RunConfig and the provenance of a run file's plain values, and execute its plug-ins.

    path: of the document, in whose folder its relative paths start; one in the working directory for values that come
        from no file.

    Raises ConfigError, PluginError.
    """
    return _split_document(embedded(with_base(document, path), path), str(path))


def write_run(run: RunConfig, path: Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Write `run`, with a section `provenance` if it is given, to a .yaml or .json file, atomically."""
    document = to_document(run)
    if run.plugins:
        document[PLUGINS] = [{**table, "source": LongText(table["source"])} for table in document[PLUGINS]]
    if provenance is not None:
        document[PROVENANCE] = dict(provenance)
    write_document(document, path)


def to_document(run: RunConfig) -> dict[str, Any]:
    """Return `run` as plain values, from which from_document makes an equal RunConfig."""
    document = {"schema_version": SCHEMA_VERSION, **encode(run)}
    document["model"] = {"name": run.model.name, **document["model"]}
    document["loss"] = {"name": run.loss.name, **document["loss"]}
    return document


def with_values(run: RunConfig, assignments: Sequence[str]) -> RunConfig:
    """Return `run` with values set by texts "name=value" or "section.name=value"; the values are written as in YAML.

    Raises ConfigError for a text without a value, an unknown name, a name of several sections, and a value that the
    section refuses.
    """
    document = to_document(run)
    for text in assignments:
        name, _, written = text.partition("=")
        path, where = name.strip().split("."), f"--set {text[:MAX_SHOWN]!r}"
        if not written.strip() or not all(path):
            raise ConfigError(f"{where}: name=value is needed, optimiser.learning_rate=0.001 say")
        if path[0] == PROVENANCE:
            raise ConfigError(f"{where}: the provenance says where a run is from, and is not set")
        if len(path) == 1:
            path = [_section_of(path[0], run), *path]
        table = document
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{where}: {part!r} is no table of a run; write section.name=value")
        table[path[-1]] = values_of(written, where)
    return from_document(document, "--set")


def _section_of(name: str, run: RunConfig) -> str:
    """Return the only section of a run that has a field `name`. Raises ConfigError for none or several."""
    held = {f.name: getattr(run, f.name) for f in fields(run) if f.name != PLUGINS}
    sections = {name: [inner.name for inner in fields(section)] for name, section in held.items() if section}
    found = [section for section, names in sections.items() if name in names]
    if len(found) == 1:
        return found[0]
    if found:
        choice = " or ".join(f"{section}.{name}" for section in found)
        raise ConfigError(f"--set {name!r}: a name of several sections; write {choice}")
    known = sorted({inner for names in sections.values() for inner in names})
    raise ConfigError(f"--set {name!r}: no section has it{near(name, known)}; known: {', '.join(known)}")


def from_document(values: object, where: str, plugins: Sequence[Plugin] = ()) -> RunConfig:
    """Return the RunConfig of a document. A section `provenance` is allowed and ignored: it does not affect the result.

    values: the document as plain values.
    where: its name in error messages.
    plugins: those that the document may name by SHA-256, without their sources.

    Raises ConfigError naming `where`, the section and the key, and PluginError.
    """
    return _split_document(joined(values, sources_of(plugins)) if plugins else values, where)[0]


def _split_document(values: object, where: str) -> tuple[RunConfig, Mapping[str, Any]]:
    """Return the RunConfig of a document and its provenance. Raises ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: a run is a table of sections, got {type(values).__name__}")
    if "models" in values and "model" not in values:
        raise ConfigError(f"{where}: is a study file, not a run; make its study: drivebeat create")
    version = values.get("schema_version")
    if version is None:
        raise ConfigError(
            f"{where}: schema_version is missing; write schema_version: {SCHEMA_VERSION} at the top of a run"
        )
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{where}: schema_version is {version!r}; this Drivebeat reads {SCHEMA_VERSION}"
            + ("; use a newer Drivebeat" if isinstance(version, int) and version > SCHEMA_VERSION else "")
        )
    known = {"model", "loss", PLUGINS, *SECTIONS}
    for key in values:
        if key not in known | {"schema_version", PROVENANCE}:
            raise ConfigError(f"{where}: unknown key {key!r}{near(str(key), known)}; known: {', '.join(sorted(known))}")
    for key in ("data", "model", "loss"):
        if key not in values:
            raise ConfigError(f"{where}: section {key!r} is missing; a run needs data, model and loss")
    provenance = values.get(PROVENANCE, {})
    if not isinstance(provenance, Mapping):
        raise ConfigError(f"{where}: provenance: a table of keys is needed, got {type(provenance).__name__}")
    # First: the other sections may name what the plug-ins register.
    plugins = decode_plugins(values[PLUGINS], where) if PLUGINS in values else ()
    if plugins:
        load_plugins(plugins, where)
    sections: dict[str, Any] = {
        key: decode(cls, values[key], f"{where}: {key}") for key, cls in SECTIONS.items() if key in values
    }
    run = RunConfig(
        model=decode_named(DENOISERS, values["model"], f"{where}: model", "model"),
        loss=decode_named(LOSSES, values["loss"], f"{where}: loss", "loss"),
        plugins=plugins,
        **sections,
    )
    return run, provenance
