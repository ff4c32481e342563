"""Compare trained runs on one held-out mixture: scores and differences with confidence intervals.

Differences are paired by window; intervals are bootstrapped by recording (training.evaluation.intervals).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.config import DataConfig
from data.corpus import Corpus, load, start_of
from data.errors import printable
from data.mixing.mixture import HeldOut, held_out
from training.config import RunConfig
from training.decode import encode
from training.device import memory_errors
from training.errors import ConfigError
from training.evaluation.estimate import estimate_mixture
from training.evaluation.intervals import N_RESAMPLES, Interval, bootstrap_mean
from training.evaluation.scores import classical_rows, values_by_window
from training.pretrained import own_recordings
from training.runs import data_of, load_model, read_folder

COMPARED_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm")
# Fields of DataConfig that a held-out mixture depends on, besides its recordings and its own section.
HELD_OUT_FIELDS = ("rate_hz", "band_hz", "band_phase", "window_samples", "level", "split")


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """The estimates of several methods for one held-out mixture.

    by_method: method -> float32[snr, window, time].
    names: of the trained runs among the methods, in the order given.
    split: "test" or "validation".
    fingerprint: of the recordings.
    """

    mixture: HeldOut
    by_method: Mapping[str, NDArray[np.float32]]
    names: tuple[str, ...]
    split: str
    fingerprint: str

    @property
    def n_recordings(self) -> int:
        """Return the number of clean recordings that the mixture's windows come from."""
        return len(np.unique(self.mixture.recording))


@dataclass(frozen=True, slots=True)
class Line:
    """One score of one method at one SNR.

    snr_db: infinite for the clean windows without noise, None for the mean over the other SNRs.
    n_windows: windows that have a score.
    value: mean over the windows.
    difference: mean difference from the reference method, window by window; None for the reference itself.
    """

    method: str
    score: str
    snr_db: float | None
    n_windows: int
    value: Interval
    difference: Interval | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The lines of every method, score and SNR.

    reference: the method that differences are taken from.
    n_resamples, seed: of the bootstrap.
    """

    reference: str
    methods: tuple[str, ...]
    snrs_db: tuple[float, ...]
    lines: tuple[Line, ...]
    n_windows: int
    n_recordings: int
    split: str
    fingerprint: str
    n_resamples: int
    seed: int

    def line(self, method: str, score: str, snr_db: float | None) -> Line:
        """Return the line of a method, a score and an SNR (infinite: clean windows; None: the mean over the others)."""
        return next(x for x in self.lines if (x.method, x.score, x.snr_db) == (method, score, snr_db))


@memory_errors()
def estimate_folders(
    folders: Sequence[Path],
    data: Path | None = None,
    split: str = "test",
    threads: int | None = None,
    *,
    classical: bool = False,
) -> Estimates:
    """Estimate one held-out mixture, and its clean windows without noise, with the trained runs in `folders`.

    data: a document whose section `data` replaces that of every run.
    split: "test" or "validation".
    classical: whether to add the estimates of the classical methods.

    Raises ConfigError, naming the field, if the runs' mixtures differ.
    """
    if split not in ("test", "validation"):
        raise ConfigError(f"--split is {split!r}; test or validation is needed")
    names = _names(folders)
    runs = [read_folder(folder) for folder in folders]
    configs = [run.data if data is None else data_of(data, run.data) for run in runs]
    for name, config in zip(names[1:], configs[1:], strict=True):
        _refuse_other_plan(names[0], configs[0], name, config, split)
    mixtures: list[HeldOut] = []
    corpora: list[tuple[DataConfig, Corpus]] = []
    for name, folder, config in zip(names, folders, configs, strict=True):
        corpus = next((known for other, known in corpora if _sources(other) == _sources(config)), None)
        if corpus is None:
            with own_recordings(folder, data):
                corpus = load(config, (split,))
            corpora.append((config, corpus))
        plan = config.test if split == "test" else config.validation
        mixture = held_out(corpus.splits[split], config, plan, clean_too=True)
        if mixtures and not _same_windows(mixture, mixtures[0]):
            _refuse_other_recordings(names[0], configs[0], name, config)
        mixtures.append(mixture)
    estimates = {
        name: _estimate(run, folder, mixture, threads)
        for name, run, folder, mixture in zip(names, runs, folders, mixtures, strict=True)
    }
    if classical:
        estimates = classical_rows(mixtures[0], configs[0].band_hz) | estimates
    return Estimates(mixtures[0], estimates, names, split, corpora[0][1].fingerprint)


def compare(
    estimates: Estimates,
    reference: str | None = None,
    scores: Sequence[str] = COMPARED_SCORES,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return the means of all scores and their differences from `reference`, each with its confidence interval.

    Differences are taken between estimates of the same noisy window, so that the difficulty of a window cancels.

    reference: a method; None takes the first run.
    scores: names in training.evaluation.scores.SCORES.
    n_resamples, seed: of the bootstrap.
    """
    mixture, methods = estimates.mixture, tuple(estimates.by_method)
    reference = reference or (estimates.names or methods)[0]
    is_noisy = np.isfinite(mixture.snrs_db)
    lines = []
    for score in scores:
        values = {method: values_by_window(score, mixture, estimates.by_method[method]) for method in methods}
        for at, snr_db in enumerate((*mixture.snrs_db, None)):
            per_window = {m: v[at] if snr_db is not None else v[is_noisy].mean(axis=0) for m, v in values.items()}
            for method, own in per_window.items():
                lines.append(
                    Line(
                        method=method,
                        score=score,
                        snr_db=snr_db,
                        n_windows=int(np.count_nonzero(~np.isnan(own))),
                        value=bootstrap_mean(own, mixture.recording, n_resamples=n_resamples, seed=seed),
                        difference=None
                        if method == reference
                        else bootstrap_mean(
                            own - per_window[reference], mixture.recording, n_resamples=n_resamples, seed=seed
                        ),
                    )
                )
    return Comparison(
        reference=reference,
        methods=methods,
        snrs_db=mixture.snrs_db,
        lines=tuple(lines),
        n_windows=mixture.clean.shape[0],
        n_recordings=estimates.n_recordings,
        split=estimates.split,
        fingerprint=estimates.fingerprint,
        n_resamples=n_resamples,
        seed=seed,
    )


def _estimate(run: RunConfig, folder: Path, mixture: HeldOut, threads: int | None) -> NDArray[np.float32]:
    return estimate_mixture(load_model(run, folder), run, mixture, threads)


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return a name for each folder: its last part if these differ, else the folder as given.

    Raises ConfigError for a folder that is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for i, folder in enumerate(resolved):
        if folder in resolved[:i]:
            raise ConfigError(f"{folders[i]}: named twice; a run does not differ from itself")
    short = [printable(folder.name) for folder in resolved]
    return tuple(short if len(set(short)) == len(short) else [printable(str(folder)) for folder in folders])


def _sources(config: DataConfig) -> tuple[Any, ...]:
    """Return the fields of a config that its recordings and their splits depend on."""
    start = start_of(config)[0].absolute()
    return (start, config.clean, config.noise, *(getattr(config, name) for name in HELD_OUT_FIELDS))


def _refuse_other_plan(first: str, wanted: DataConfig, name: str, config: DataConfig, split: str) -> None:
    """Raise ConfigError if the held-out mixtures of two configs differ in a field."""
    needed, got = _flat(wanted, split), _flat(config, split)
    for field in {**needed, **got}:
        if needed.get(field) != got.get(field):
            raise ConfigError(
                f"{name}: data.{field} is {got.get(field)}, but {first} has {needed.get(field)}; scores of different "
                "mixtures do not compare: train on one data section, or name one for all with --data"
            )


def _flat(config: DataConfig, split: str) -> dict[str, Any]:
    """Return the fields that the held-out mixture of a split depends on, by their dotted names."""
    document, flat = encode(config), dict[str, Any]()
    for name in (*HELD_OUT_FIELDS, split):
        value = document.get(name, getattr(config, name))
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _same_windows(one: HeldOut, other: HeldOut) -> bool:
    """Return whether two mixtures have the same clean windows and the same noise; reference channels may differ."""
    return np.array_equal(one.clean, other.clean) and np.array_equal(one.noise, other.noise)


def _refuse_other_recordings(first: str, wanted: DataConfig, name: str, config: DataConfig) -> None:
    """Raise ConfigError for two configs whose recordings give different held-out windows."""
    parts = [f"data.{role}" for role in ("clean", "noise") if getattr(config, role) != getattr(wanted, role)]
    raise ConfigError(
        f"{name}: {' and '.join(parts)} lead to other held-out windows than those of {first} (other recordings, "
        "channels, order or use); train on one data section, or name one for all with --data"
    )
