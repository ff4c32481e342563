"""A run's folder: run.yaml, weights, checkpoint, history, evaluation; and what one does with it."""

import dataclasses
import math
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from data.config import DataConfig
from data.corpus import load
from data.mixing.mixture import held_out
from data.recording import Recording
from training.apply import apply, check_output, samples_of, write_estimate
from training.bars import bar, warn
from training.checkpoint import load_weights
from training.config import RunConfig, read_run, write_run
from training.decode import changed, decode, read_document
from training.device import arithmetic, check_precision, memory_errors, resolve_device
from training.errors import ConfigError
from training.evaluation.estimate import estimate_mixture
from training.evaluation.scores import COLUMNS, SCORES, Row, classical_rows, score_rows
from training.evaluation.showcase import write_score_figure, write_showcase, write_table
from training.lineage import RUN_FILE, config_sha256, describe_start, resolve_init
from training.numbers import finite
from training.report import EpochReport, shown_snr
from training.switches import Switches
from training.trackers.base import Place, Tracker, build_trackers
from training.trainer import WEIGHTS, train

LEAST_WINDOW_S = 1.0
SHOWN_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm")
EVALUATION = (
    "reading the recordings",
    "the model's estimates",
    "the classical estimates",
    "scores",
    "pictures, sounds",
)


def override(run: RunConfig, **fit: Any) -> RunConfig:
    """`run` with some of its fit fields replaced; None keeps the run's own."""
    given = {name: value for name, value in fit.items() if value is not None}
    return dataclasses.replace(run, fit=changed(run.fit, "fit", **given)) if given else run


def train_to_folder(
    run: RunConfig, folder: Path, provenance: Mapping[str, Any], trackers: Sequence[str], console: Console
) -> float:
    """Train `run` into `folder` as train_run does; the best score."""
    last = train_run(run, folder, provenance, trackers, console)
    assert last.best_score is not None, "the last epoch is always past the ramps"
    return last.best_score


@memory_errors()
def train_run(
    run: RunConfig,
    folder: Path,
    provenance: Mapping[str, Any],
    trackers: Sequence[str],
    console: Console,
    switches: Switches | None = None,
) -> EpochReport:
    """Train `run` into `folder`, showing progress; the last report. Goes on where an interrupted training stopped.

    A folder keeps the provenance it began with; where the run starts from other weights, it gets their SHA-256 and
    lineage. A warning line says where the output collapsed, but the run goes on: its best weights may be older.
    Raises ConfigError where the folder holds another run, TrainingFailed as training.trainer.train does.
    """
    run = resolve_init(run)
    path = folder / RUN_FILE
    begun = path.exists()
    if begun and read_run(path) != run:
        raise ConfigError(f"{folder}: holds another run; choose another folder with -o, or remove it")
    check_precision(resolve_device(run.fit.device), run.fit.precision)
    sinks = build_trackers(trackers, _place_of(run, folder, switches or Switches()))
    corpus = load(run.data)
    wanted = provenance.get("data_fingerprint")
    if wanted not in (None, corpus.fingerprint):
        console.print(f"note: the recordings (fingerprint {corpus.fingerprint}) are not those of the search ({wanted})")
    if not begun:
        if start := describe_start(run, corpus.n_channels):
            console.print(start, soft_wrap=True, highlight=False, markup=False)
        write_run(run, path, provenance)
    sinks.start(run, folder.name)
    try:
        last = _follow(run, train(run, corpus, folder), sinks, console)
    except BaseException as error:
        sinks.finish({"end": f"{type(error).__name__}: {error}"})
        raise
    assert last.best_score is not None, "the last epoch is always past the ramps"
    sinks.files([path, folder / WEIGHTS])
    sinks.finish({run.fit.score: last.best_score, "end": last.stopped or "finished"})
    return last


def _place_of(run: RunConfig, folder: Path, switches: Switches) -> Place:
    key = f"run {socket.gethostname()}:{folder.resolve()} {config_sha256(run)[:16]}"
    return Place(folder, switches, key=key)


def _follow(run: RunConfig, reports: Iterable[EpochReport], sinks: Tracker, console: Console) -> EpochReport:
    """Pass reports on to trackers and console; the last one."""
    report: EpochReport | None = None
    warned = ""
    with bar(console, "training", run.fit.epochs) as advance:
        for report in reports:
            sinks.report(report)
            best = report.best_score
            shown = f"{report.score:+.3f}" + (f", best {best:+.3f}" if best is not None else "")
            advance(report.epoch + 1, f"{run.fit.score} {shown}")
            if not console.is_terminal and _is_milestone(report):
                console.print(
                    f"epoch {report.epoch + 1}/{report.n_epochs} loss {report.loss:.3f} {run.fit.score} {shown}"
                )
            if report.collapsed and not warned:
                warn(console, f"epoch {report.epoch + 1}: {report.collapsed}")
            warned = report.collapsed
    assert report is not None, "a run has at least one epoch"
    if report.stopped:
        console.print(f"stopped after epoch {report.epoch + 1}: {report.stopped}", soft_wrap=True, markup=False)
    return report


def _is_milestone(report: EpochReport) -> bool:
    return report.last or (report.epoch + 1) % max(1, report.n_epochs // 10) == 0


def read_folder(folder: Path) -> RunConfig:
    """The run in `folder`. Raises ConfigError for a folder that is no run's."""
    path = folder / RUN_FILE
    if not path.exists():
        raise ConfigError(
            f"{folder}: not a run's folder (no {RUN_FILE}); train one: drivebeat train RUN.yaml -o {folder}"
        )
    return read_run(path)


def load_model(run: RunConfig, folder: Path) -> nn.Module:
    """The model of `run` with the weights in `folder`, on the CPU. Raises CheckpointError where they do not fit."""
    with arithmetic(run.fit.seed, resolve_device("cpu"), None):
        model = run.build_model(run.data.n_channels)
    load_weights(model, folder / WEIGHTS)
    return model


@memory_errors()
def evaluate_folder(
    folder: Path,
    data: Path | None,
    output: Path,
    split: str,
    threads: int | None,
    console: Console,
    window_s: float | None = None,
) -> list[Row]:
    """Score the run in `folder` and the classical rows on a held-out mixture; write table, pictures and sounds.

    data: a document whose section `data` replaces the run's own. window_s: seconds of a window, those of the data
    section where None; all rows are scored on the same windows. Raises ConfigError where its signals are not of the
    kind that the model was trained on and for windows of less than a second, DataError where a recording is shorter.
    """
    if split not in ("test", "validation"):
        raise ConfigError(f"--split is {split!r}; test or validation is needed")
    run = read_folder(folder)
    config = data_of(data, run.data) if data is not None else run.data
    if window_s is not None:
        least = math.ceil(LEAST_WINDOW_S * config.rate_hz)
        window = samples_of(window_s, config, least, f"{LEAST_WINDOW_S:g} s is needed to hold a beat")
        config = changed(config, "--window-s", window_samples=window)
    model = load_model(run, folder)
    name = run.model.name
    with bar(console, EVALUATION[0], len(EVALUATION)) as advance:
        mixture = held_out(load(config).splits[split], config, config.test if split == "test" else config.validation)
        advance(1, EVALUATION[1])
        ours = estimate_mixture(model, run, mixture, threads)
        advance(2, EVALUATION[2])
        estimates = {**classical_rows(mixture, config.band_hz), name: ours}
        advance(3, EVALUATION[3])
        rows = score_rows(estimates, mixture)
        advance(4, EVALUATION[4])
        write_table(rows, output / "table.csv")
        for score in SHOWN_SCORES:
            write_score_figure(rows, score, name, output / f"{score}.png")
        write_showcase(mixture, ours, name, output)
    for score in SHOWN_SCORES:
        console.print(score_table(rows, score, name))
    console.print(f"{output}: table.csv ({', '.join(COLUMNS)}), window.png, *.png, noisy.wav, clean.wav, estimate.wav")
    return rows


def data_of(path: Path, trained_on: DataConfig) -> DataConfig:
    """The section `data` of a document, for a model `trained_on` other data. Raises ConfigError where it is of another
    kind than the model takes."""
    document = read_document(path)
    if not isinstance(document, Mapping) or "data" not in document:
        raise ConfigError(f"{path}: has no section 'data'; name a run or a study file")
    config = decode(DataConfig, document["data"], f"{path}: data")
    for name in ("rate_hz", "band_hz", "n_channels"):
        got, needed = getattr(config, name), getattr(trained_on, name)
        if got != needed:
            raise ConfigError(f"{path}: data: {name} is {got}, but the model was trained at {needed}; make them equal")
    return config


def score_table(rows: Sequence[Row], score: str, highlight: str) -> Table:
    """One score as methods x SNRs with the mean, best method last; the oracle is a bound, not a competitor."""
    snrs_db = list(dict.fromkeys(row.snr_db for row in rows))
    by_method: dict[str, dict[float, float]] = {}
    for row in rows:
        by_method.setdefault(row.method, {})[row.snr_db] = row.scores[score]
    means = {method: sum(values.values()) / len(values) for method, values in by_method.items()}
    unit = f" in {SCORES[score].unit}" if SCORES[score].unit else ""
    table = Table(title=f"{score}{unit}", title_justify="left")
    table.add_column("method")
    for snr_db in snrs_db:
        table.add_column(f"{shown_snr(snr_db)} dB", justify="right")
    table.add_column("mean", justify="right")
    falling = SCORES[score].direction == "minimize"
    for method in sorted(means, key=lambda m: means[m], reverse=falling):
        label = f"{method} (bound)" if method == "oracle" else method
        cells = [f"{by_method[method][snr_db]:.2f}" for snr_db in snrs_db]
        table.add_row(label, *cells, f"{means[method]:.2f}", style="bold" if method == highlight else "")
    return table


def rows_document(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain values; null for what JSON has no number for: a heart-rate error can be infinite."""
    return [
        {
            "method": row.method,
            "snr_db": row.snr_db,
            **finite(row.scores),
        }
        for row in rows
    ]


@memory_errors()
def apply_folder(
    folder: Path,
    recording: Recording,
    output: Path,
    device_name: str,
    window_s: float | None = None,
    console: Console | None = None,
) -> int:
    """Clean `recording` with the run in `folder` and write the estimate; the number of samples written.

    Raises ConfigError for a folder, an output, a number of channels or a window that will not do, DataError for a
    recording that is too short.
    """
    run = read_folder(folder)
    check_output(output, recording)
    n_channels = run.data.n_channels
    if recording.signals.shape[0] < n_channels:
        raise ConfigError(
            f"{recording.source}: {recording.signals.shape[0]} channels ({', '.join(recording.channels)}), the model "
            f"needs {n_channels}: the one to clean first, then its references (--channels)"
        )
    model = load_model(run, folder)
    used = dataclasses.replace(
        recording, signals=recording.signals[:n_channels], channels=recording.channels[:n_channels]
    )
    device = resolve_device(device_name)
    with (
        bar(console or Console(quiet=True), "cleaning", 100) as advance,
        arithmetic(run.fit.seed, device, run.fit.threads),
    ):
        estimate = apply(
            model.to(device),
            used,
            run.data,
            device,
            window_s=window_s,
            progress=lambda done, total: advance(100 * done // total, f"cleaning: {done} of {total} windows"),
        )
    write_estimate(estimate, recording, output)
    return len(estimate)
