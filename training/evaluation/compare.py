"""Trained runs side by side on one held-out mixture, paired by window, with intervals by recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.config import DataConfig
from data.corpus import Corpus, load
from data.mixing.mixture import HeldOut, held_out
from objectives.heart import heart_rates_bpm
from training.config import RunConfig
from training.decode import encode
from training.device import memory_errors
from training.errors import ConfigError
from training.evaluation.estimate import estimate_mixture
from training.evaluation.intervals import N_RESAMPLES, Interval, bootstrap_mean
from training.evaluation.scores import SCORES, Values, Windows, classical_rows, heard, windows_at
from training.runs import data_of, load_model, read_folder

COMPARED_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm")
# What a held-out mixture is made of beside its recordings and its own plan.
HELD_OUT_FIELDS = ("rate_hz", "band_hz", "window_samples", "level", "split")


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """What several methods make of one mixture: method -> float32[snr, window, time].

    names: of the trained runs among them, in the order they were given.
    """

    mixture: HeldOut
    by_method: Mapping[str, NDArray[np.float32]]
    names: tuple[str, ...]
    split: str
    fingerprint: str

    @property
    def n_recordings(self) -> int:
        """Clean recordings that the mixture's windows come from."""
        return len(np.unique(self.mixture.recording))


@dataclass(frozen=True, slots=True)
class Line:
    """One method by one score at one SNR (None: mean of each window over the SNRs).

    difference: from the reference method, window by window; None for the reference itself. n_windows: judged ones.
    """

    method: str
    score: str
    snr_db: float | None
    n_windows: int
    value: Interval
    difference: Interval | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Lines for every method, score and SNR; `reference` is what differences are taken from."""

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
        """The line of a method, a score and an SNR (None: the mean)."""
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
    """Put the trained runs in `folders` to one held-out mixture, and the classical methods too where asked.

    data: a document whose section `data` replaces that of every run. Raises ConfigError where the runs' mixtures
    differ, naming the field.
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
    for name, config in zip(names, configs, strict=True):
        corpus = next((known for of, known in corpora if _sources(of) == _sources(config)), None)
        if corpus is None:
            corpus = load(config)
            corpora.append((config, corpus))
        mixture = held_out(corpus.splits[split], config, config.test if split == "test" else config.validation)
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
    """Means and differences from `reference` (the first run), each with its interval by recording.

    A difference is taken window by window on the same noisy window, so that what makes a window hard for all cancels.
    """
    mixture, methods = estimates.mixture, tuple(estimates.by_method)
    reference = reference or (estimates.names or methods)[0]
    lines = []
    for score in scores:
        values = {method: values_by_window(score, mixture, estimates.by_method[method]) for method in methods}
        for at, snr_db in enumerate((*mixture.snrs_db, None)):
            per_window = {m: v[at] if snr_db is not None else v.mean(axis=0) for m, v in values.items()}
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


def values_by_window(score: str, mixture: HeldOut, estimates: NDArray[np.float32]) -> Values:
    """`score` of estimates float32[snr, window, time], float64[snr, window]; NaN where a window cannot be judged."""
    rows = []
    for i in range(len(mixture.snrs_db)):
        windows = windows_at(mixture, estimates, i)
        values = SCORES[score].values(windows)
        if len(values) < len(windows.clean):  # heart rates: those without a reference are left out
            values = _spread(values, _has_rate(windows))
        rows.append(values)
    return np.stack(rows)


def _spread(values: Values, at: NDArray[np.bool_]) -> Values:
    spread = np.full(len(at), np.nan)
    spread[at] = values
    return spread


def _has_rate(windows: Windows) -> NDArray[np.bool_]:
    """Bool[window]: R peaks tell a heart rate, or the clean window itself does."""
    own = heart_rates_bpm(heard(windows.clean, windows), windows.rate_hz)
    return np.isfinite(windows.reference_bpm) | np.isfinite(own)


def _estimate(run: RunConfig, folder: Path, mixture: HeldOut, threads: int | None) -> NDArray[np.float32]:
    return estimate_mixture(load_model(run, folder), run, mixture, threads)


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """A short name for each folder: its last part where that tells them apart, else as it was given."""
    resolved = [folder.resolve() for folder in folders]
    for i, folder in enumerate(resolved):
        if folder in resolved[:i]:
            raise ConfigError(f"{folders[i]}: named twice; a run does not differ from itself")
    short = [folder.name for folder in resolved]
    return tuple(short if len(set(short)) == len(short) else [str(folder) for folder in folders])


def _sources(config: DataConfig) -> tuple[Any, ...]:
    """What the recordings and their splits follow from."""
    return (config.clean, config.noise, *(getattr(config, name) for name in HELD_OUT_FIELDS))


def _refuse_other_plan(first: str, wanted: DataConfig, name: str, config: DataConfig, split: str) -> None:
    ours, theirs = _flat(wanted, split), _flat(config, split)
    for field in {**ours, **theirs}:
        if ours.get(field) != theirs.get(field):
            raise ConfigError(
                f"{name}: data.{field} is {theirs.get(field)}, but {first} has {ours.get(field)}; scores of different "
                "mixtures do not compare: train on one data section, or name one for all with --data"
            )


def _flat(config: DataConfig, split: str) -> dict[str, Any]:
    document, flat = encode(config), dict[str, Any]()
    for name in (*HELD_OUT_FIELDS, split):
        value = document[name]
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _same_windows(one: HeldOut, other: HeldOut) -> bool:
    """Whether both have the same clean windows under the same noise; references may differ."""
    return np.array_equal(one.clean, other.clean) and np.array_equal(one.noise, other.noise)


def _refuse_other_recordings(first: str, wanted: DataConfig, name: str, config: DataConfig) -> None:
    parts = [f"data.{role}" for role in ("clean", "noise") if getattr(config, role) != getattr(wanted, role)]
    raise ConfigError(
        f"{name}: {' and '.join(parts)} lead to other held-out windows than those of {first} (other recordings, "
        "channels, order or use); train on one data section, or name one for all with --data"
    )
