"""The folder of a run: train into it, evaluate it, load its model.

A run's folder holds run.yaml, the best weights, the checkpoint and the files of its trackers. The commands train and
evaluate call train_run and evaluate_folder; training.denoising applies a run's model to recordings.
"""

import dataclasses
import math
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from data.config import DataConfig, HeldOutConfig
from data.corpus import load
from data.errors import NoChannel, shell_command
from data.files import file_errors
from data.mixing.mixture import HeldOut, held_out
from training.apply import samples_of
from training.bars import bar, warn
from training.calibration import EVIDENCE, read_calibration
from training.channels import described_all, with_names
from training.checkpoint import load_weights
from training.config import RUN_FILE, RunConfig, read_run, write_run
from training.decode import changed, decode
from training.device import arithmetic, check_precision, memory_errors, resolve_device
from training.documents import read_document, with_base
from training.errors import ConfigError
from training.evaluation.beats import OfMethod, beats_table, described_noise, with_beats, write_beats
from training.evaluation.by import PartLine, evaluate_by, part_table, write_parts
from training.evaluation.calibrate import calibrated
from training.evaluation.estimate import estimate_mixture
from training.evaluation.figures import label_of
from training.evaluation.harm import clean_lines, clean_recordings, worse_than_nothing
from training.evaluation.scores import SCORES, TABLE_SCORES, Row, classical_rows, score_rows
from training.evaluation.showcase import write_score_figure, write_showcase, write_table
from training.evaluation.shown import plain_snr, shown_score
from training.evaluation.whole import evidence_of, measure
from training.lengthen import epochs_before, lengthen
from training.lineage import config_sha256, describe_start, resolve_init
from training.numbers import finite
from training.plugins.kinds import installed_origins
from training.plugins.load import load_plugins
from training.plugins.plugin import PLUGINS, decode_plugins, embedded
from training.pretrained import PRETRAINED, is_pretrained, own_recordings
from training.report import EpochReport, snr_heading
from training.switches import Switches
from training.trackers.base import Tracker, TrackerTarget
from training.trackers.build import build_trackers
from training.trainer import WEIGHTS, train

MIN_WINDOW_S = 1.0
SHOWN_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm")
EVALUATION_STEPS = (
    "reading the recordings",
    "the model's estimates",
    "the classical estimates",
    "scores",
    "calibration",
    "beats of whole recordings",
    "pictures, sounds",
)


def override(run: RunConfig, **fit: Any) -> RunConfig:
    """Return `run` with fields of its section `fit` replaced. A value of None leaves the field as it is."""
    given = {name: value for name, value in fit.items() if value is not None}
    return dataclasses.replace(run, fit=changed(run.fit, "fit", **given)) if given else run


def train_to_folder(
    run: RunConfig, folder: Path, provenance: Mapping[str, Any], trackers: Sequence[str], console: Console
) -> float:
    """Train `run` into `folder` as train_run does, without calibration, and return the best score."""
    last = train_run(run, folder, provenance, trackers, console, calibrates=False)
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
    *,
    calibrates: bool = True,
) -> EpochReport:
    """Train `run` into `folder`, show progress, and return the last report. Then calibrate its beats.

    Training that was interrupted is resumed; a run of fewer epochs is lengthened (training.lengthen). If the run starts
    from other weights, their SHA-256 and lineage are written into run.yaml. A collapsed output is reported in a
    warning, but the run goes on: its best weights may be older than the collapse.

    provenance: written into run.yaml; a folder that already has one keeps it.
    trackers: names, see training.trackers.base.TRACKERS.
    calibrates: whether to write beats.json, see training.evaluation.calibrate.

    Raises ConfigError if the folder holds another run, TrainingFailed as training.trainer.train does.
    """
    run = resolve_init(run)
    path = folder / RUN_FILE
    with file_errors(path, "read"):
        is_resumed = path.exists()
    shorter = epochs_before(run, folder) if is_resumed else None
    check_precision(resolve_device(run.fit.device), run.fit.precision)
    tracker = build_trackers(trackers, _target_of(run, folder, switches or Switches()))
    corpus = load(run.data)
    wanted = provenance.get("data_fingerprint")
    if wanted not in (None, corpus.fingerprint):
        console.print(f"note: the recordings (fingerprint {corpus.fingerprint}) are not those of the search ({wanted})")
    _print_notes(corpus.notes, console)
    if shorter is not None:
        console.print(lengthen(run, folder), soft_wrap=True, highlight=False)
    if not is_resumed:
        if start := describe_start(run, corpus.n_channels):
            console.print(start, soft_wrap=True, highlight=False, markup=False)
        origins = installed_origins(type(run.model), type(run.loss))
        write_run(run, path, {**provenance, **({"entry_points": origins} if origins else {})})
    tracker.start(run, folder.name)
    try:
        last = _follow(run, train(run, corpus, folder), tracker, console)
    except BaseException as error:
        tracker.finish({"end": f"{type(error).__name__}: {error}"})
        raise
    assert last.best_score is not None, "the last epoch is always past the ramps"
    tracker.files([path, folder / WEIGHTS])
    tracker.finish({run.fit.score: last.best_score, "end": last.stopped or "finished"})
    if calibrates and not (switches and switches.only_first_batch):
        with bar(console, "calibrating beats", None):
            calibrated(run, load_model(run, folder), folder, corpus, run.fit.threads, console)
    return last


def _print_notes(notes: Iterable[str], console: Console) -> None:
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)


def _target_of(run: RunConfig, folder: Path, switches: Switches) -> TrackerTarget:
    key = f"run {socket.gethostname()}:{folder.resolve()} {config_sha256(run)[:16]}"
    return TrackerTarget(folder, switches, key=key)


def _follow(run: RunConfig, reports: Iterable[EpochReport], tracker: Tracker, console: Console) -> EpochReport:
    """Pass the reports on to the tracker and the console, and return the last report."""
    report: EpochReport | None = None
    last_warning = ""
    with bar(console, "training", run.fit.epochs) as advance:
        for report in reports:
            tracker.report(report)
            best = report.best_score
            shown = f"{report.score:+.3f}" + (f", best {best:+.3f}" if best is not None else "")
            advance(report.epoch + 1, f"{run.fit.score} {shown}")
            if not console.is_terminal and _is_milestone(report):
                console.print(
                    f"epoch {report.epoch + 1}/{report.n_epochs} loss {report.loss:.3f} {run.fit.score} {shown}"
                )
            if report.collapsed and not last_warning:
                warn(console, f"epoch {report.epoch + 1}: {report.collapsed}")
            last_warning = report.collapsed
    assert report is not None, "a run has at least one epoch"
    if report.stopped:
        console.print(f"stopped after epoch {report.epoch + 1}: {report.stopped}", soft_wrap=True, markup=False)
    return report


def _is_milestone(report: EpochReport) -> bool:
    """Return whether to print this report where there is no terminal: the last one, and every tenth of the run."""
    return report.last or (report.epoch + 1) % max(1, report.n_epochs // 10) == 0


def read_folder(folder: Path) -> RunConfig:
    """Read the config of the run in `folder`. Raises ConfigError if the folder holds no run."""
    path = folder / RUN_FILE
    with file_errors(path, "read"):
        is_run = path.exists()
    if not is_run:
        command = shell_command("train", "RUN.yaml", "-o", folder)
        raise ConfigError(f"{folder}: not a run's folder (no {RUN_FILE}); train one: {command}, or take pretrained")
    return read_run(path)


def load_model(run: RunConfig, folder: Path) -> nn.Module:
    """Build the model of `run` with the weights in `folder`, on the CPU.

    Raises CheckpointError if the weights do not fit the config.
    """
    with arithmetic(run.fit.seed, resolve_device("cpu"), None):
        model = run.build_model(run.data.n_channels)
    load_weights(model, folder / WEIGHTS)
    return model


def evaluation_folder(folder: Path, data: Path | None) -> Path:
    """Return the folder that an evaluation of the run in `folder` is written to. data: the file with other data.

    That of a pretrained model is in the working directory, because others may use the model's own folder.
    """
    name = "evaluation" if data is None else f"evaluation-{data.stem}"
    return Path(f"{PRETRAINED}-{folder.name}-{name}") if is_pretrained(folder) else folder / name


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
    """Score the run in `folder` and the classical methods on a held-out mixture; write table, figures and sounds.

    The clean windows without noise are scored too; their rows have an infinite SNR. The rows of the model and of
    "identity" also have the scores of beats in whole recordings, see training.evaluation.whole; those of other methods
    have NaN. A run without beats.json is calibrated first, unless `data` or `window_s` is given.

    data: a document whose section `data` replaces the run's own.
    output: the folder to write to.
    split: "test" or "validation".
    window_s: length of a window in seconds; None takes that of the section `data`. All methods are scored on the same
        windows.

    Raises ConfigError if the data do not have the rate, band and channels that the model was trained on, or for
    windows shorter than MIN_WINDOW_S; DataError if a recording is shorter than a window.
    """
    run, config, model = _evaluated(folder, data, split, window_s)
    name = run.model.name
    with bar(console, EVALUATION_STEPS[0], len(EVALUATION_STEPS)) as advance:
        with _naming_file(data), own_recordings(folder, data):
            corpus = load(config, (split,))
        mixture = held_out(corpus.splits[split], config, _plan(config, split), clean_too=True)
        advance(1, EVALUATION_STEPS[1])
        model_estimates = estimate_mixture(model, run, mixture, threads)
        advance(2, EVALUATION_STEPS[2])
        estimates = {**classical_rows(mixture, config.band_hz), name: model_estimates}
        advance(3, EVALUATION_STEPS[3])
        rows = score_rows(estimates, mixture, _with(run.fit.score, TABLE_SCORES))
        advance(4, EVALUATION_STEPS[4])
        if data is None and window_s is None and corpus.splits["validation"].clean:
            calibration = calibrated(run, model, folder, corpus, threads, console)
        else:
            calibration = read_calibration(folder)
        advance(5, EVALUATION_STEPS[5])
        plan = _plan(config, split)
        beats = measure(model, run, corpus.splits[split], config, plan, threads, with_identity=True)
        method = OfMethod(name, calibration, evidence_of(model, calibration))
        rows = with_beats(rows, beats, method)
        advance(6, EVALUATION_STEPS[6])
        write_table(rows, output / "table.csv")
        shown = _with(run.fit.score, SHOWN_SCORES)
        for score in shown:
            write_score_figure(rows, score, name, output / f"{score}.png")
        write_beats(rows, beats, method, output)
        write_showcase(mixture, model_estimates, name, output)
    console.print(described_all(config), soft_wrap=True, highlight=False, markup=False)
    _print_notes(corpus.notes, console)
    for score in shown:
        console.print(score_table(rows, score, name))
    console.print(beats_table(rows, name))
    about_beats = f"beats by {EVIDENCE[method.evidence]}; {calibration.described}", described_noise(beats, method)
    kept = clean_recordings(mixture, model_estimates, corpus.splits[split].clean)
    about_harm = worse_than_nothing(rows, name, SHOWN_SCORES), *clean_lines(kept, name)
    for line in filter(None, (*about_beats, *about_harm)):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    files = "window.png, *.png, reliability.csv, noisy.wav, clean.wav, estimate.wav"
    console.print(f"{output}: table.csv ({', '.join(rows[0].scores)}), {files}")
    return rows


@memory_errors()
def evaluate_parts(
    folder: Path,
    by: str,
    data: Path | None,
    output: Path,
    split: str,
    threads: int | None,
    console: Console,
    window_s: float | None = None,
) -> list[PartLine]:
    """Score the run in `folder` and the classical methods by speed, vehicle, recording or channel; write by_*.csv.

    The arguments and errors are those of evaluate_folder; see training.evaluation.by.evaluate_by for the parts.
    """
    run, config, model = _evaluated(folder, data, split, window_s)
    name = run.model.name

    def estimate(mixture: HeldOut) -> dict[str, NDArray[np.float32]]:
        own = {name: estimate_mixture(model, run, mixture, threads)}
        return {**classical_rows(mixture, config.band_hz), **own}

    with bar(console, f"evaluating by {by}", None):
        scores = _with(run.fit.score, SHOWN_SCORES)
        with _naming_file(data), own_recordings(folder, data):
            lines, notes = evaluate_by(by, config, split, _plan(config, split), estimate, scores)
    _print_notes(notes, console)
    write_parts(lines, output / f"by_{by}.csv")
    for score in scores:
        console.print(part_table(lines, score, name, by))
    console.print(f"{output}: by_{by}.csv, all methods", highlight=False)
    return lines


@contextmanager
def _naming_file(data: Path | None) -> Iterator[None]:
    """Say in an error about a missing channel where its name is from. data: the file with other data."""
    try:
        yield
    except NoChannel as error:
        if data is None:
            raise
        raise NoChannel(
            f"{error}; where {data} lists no channels, those of the model's {RUN_FILE} are read: list the channels of "
            "these recordings there"
        ) from error


def _with(score: str, scores: tuple[str, ...]) -> tuple[str, ...]:
    """Return `scores` with the one that a run's weights were chosen by, which may be a plug-in's."""
    return scores if score in scores or score in TABLE_SCORES else (*scores, score)


def _evaluated(
    folder: Path, data: Path | None, split: str, window_s: float | None
) -> tuple[RunConfig, DataConfig, nn.Module]:
    """Return the run in `folder`, the data to evaluate it on, and its model. Raises ConfigError."""
    if split not in ("test", "validation"):
        raise ConfigError(f"--split is {split!r}; test or validation is needed")
    run = read_folder(folder)
    config = data_of(data, run.data) if data is not None else run.data
    if window_s is not None:
        least = math.ceil(MIN_WINDOW_S * config.rate_hz)
        window = samples_of(window_s, config, least, f"{MIN_WINDOW_S:g} s is needed to hold a beat")
        config = changed(config, "--window-s", window_samples=window)
    model = load_model(run, folder)
    return run, config, model


def _plan(config: DataConfig, split: str) -> HeldOutConfig:
    return config.test if split == "test" else config.validation


def data_of(path: Path, trained_on: DataConfig) -> DataConfig:
    """Read the section `data` of the document at `path`, for a model that was trained on other data.

    Sources that name no channels get those of `trained_on`.

    Raises ConfigError if the section is missing, or if rate, band or channels are not those of `trained_on`.
    """
    document = embedded(with_base(read_document(path), path), path)
    if not isinstance(document, Mapping) or "data" not in document:
        raise ConfigError(f"{path}: has no section 'data'; name a run or a study file")
    load_plugins(decode_plugins(document.get(PLUGINS, ()), str(path)), str(path))  # they may read its recordings
    config = decode(DataConfig, document["data"], f"{path}: data")
    config = dataclasses.replace(
        config,
        clean=with_names(config.clean, trained_on, path),
        noise=with_names(config.noise, trained_on, path),
    )
    for name in ("rate_hz", "band_hz", "band_phase", "n_channels"):
        got, needed = getattr(config, name), getattr(trained_on, name)
        if got != needed:
            raise ConfigError(f"{path}: data: {name} is {got}, but the model was trained at {needed}; make them equal")
    return config


def score_table(rows: Sequence[Row], score: str, highlight: str) -> Table:
    """Return a table of one score: a row per method, the best last, a column per SNR and one for the mean.

    Clean windows have a column, and are not in the mean.

    The oracle is marked as a bound: it knows the clean signal. The method `highlight` is printed in bold.
    """
    snrs_db = list(dict.fromkeys(row.snr_db for row in rows))
    by_method: dict[str, dict[float, float]] = {}
    for row in rows:
        by_method.setdefault(row.method, {})[row.snr_db] = row.scores[score]
    noisy = [snr_db for snr_db in snrs_db if math.isfinite(snr_db)]
    means = {method: sum(values[snr_db] for snr_db in noisy) / len(noisy) for method, values in by_method.items()}
    unit = f" in {SCORES[score].unit}" if SCORES[score].unit else ""
    table = Table(title=f"{score}{unit}", title_justify="left")
    table.add_column("method")
    for snr_db in snrs_db:
        table.add_column(snr_heading(snr_db), justify="right")
    table.add_column("mean", justify="right")
    is_lower_better = SCORES[score].direction == "minimize"
    for method in sorted(means, key=lambda m: means[m], reverse=is_lower_better):
        cells = [shown_score(score, snr_db, by_method[method][snr_db], 2) for snr_db in snrs_db]
        table.add_row(label_of(method), *cells, f"{means[method]:.2f}", style="bold" if method == highlight else "")
    return table


def rows_document(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as plain values for JSON.

    Scores that are not finite (heart-rate errors) become None, and the SNR of clean windows "inf".
    """
    return [
        {
            "method": row.method,
            "snr_db": plain_snr(row.snr_db),
            **finite(row.scores),
        }
        for row in rows
    ]
