"""Sections of a report on each study, the recordings, the sounds and the provenance."""

import hashlib
import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.config import Source
from data.errors import shell_command
from data.files import path_part
from search.report.facts import MixtureFact, StudyFact, TrialFact, artifacts_of
from search.report.page import Block, Code, Drawing, Grid, Paragraph, Picture, Section, Sound
from search.report.plots import outside_sentence
from search.report.study_plots import (
    CURVES,
    curve_points,
    curves_shown,
    draw_history,
    draw_importances,
    draw_parallel,
    draw_slices,
    searched,
)
from search.storage.optuna_private import ArtifactStore
from search.study.export import export, git_commit, provenance
from search.study.space import describe, parameters
from search.terminal.tables import type_name
from search.trials import Fate
from training.evaluation.compare import Estimates
from training.evaluation.figures import n_outside, outside_words
from training.evaluation.showcase import PITCH_FACTOR, write_showcase
from training.numbers import short
from training.report import shown_snr

BEST_SHOWN = 5
MAX_SLUG = 150  # characters of a file's name, which has at most 255
SOUNDS = (("noisy.wav", "noisy"), ("clean.wav", "clean"), ("estimate.wav", "estimate"))


def study_sections(study: StudyFact, storage: str) -> list[Section]:
    """Return the section of one study: space, trials and best configuration.

    storage: URL of the database without its password, for the commands that the report shows.
    """
    spec = study.source.spec
    hours = f" or {spec.budget.hours:g} h" if spec.budget.hours else ""
    blocks: list[Block] = [
        Paragraph(
            f"Family {study.result.family}, loss {spec.loss}, selected by {spec.metric} on the validation mixture. "
            f"Sampler {spec.sampler.name}, pruner {spec.pruner.name}, {spec.epochs} epochs, seed {spec.seed}, budget "
            f"{spec.budget.trials} trials{hours}."
        ),
        _space_grid(study),
    ]
    if study.trials:
        blocks += [*_figures(study), *_trial_grids(study)]
    else:
        blocks.append(Paragraph("No trial is finished yet.", warns=True))
    if study.best is not None:
        blocks += _best_config(study, storage)
    return [Section(study.name, tuple(blocks), level=3)]


def _space_grid(study: StudyFact) -> Grid:
    space, best = study.source.space, study.best
    rows = []
    for name, parameter in parameters(space.model, space.loss).items():
        distribution, fixed = space.sampled.get(name), space.fixed.get(name)
        if distribution is None and fixed is None:
            continue
        where = describe(distribution) if distribution is not None else f"fixed {short(fixed)}"
        chosen = short(best.params[name]) if best is not None and name in best.params else ""
        weight = f"{study.importances[name]:.2f}" if name in study.importances else ""
        rows.append((name, type_name(parameter.type), where, short(parameter.default), chosen, weight))
    caption = (
        "Searched and fixed parameters; all others have their defaults. Weight: share of the differences in score."
    )
    return Grid(caption, ("parameter", "type", "range", "default", "best", "weight"), tuple(rows), n_left=3)


def _figures(study: StudyFact) -> list[Block]:
    slug, blocks = _slug(study.name), list[Block]()
    if any(t.score is not None for t in study.trials):
        counts = f"{study.result.complete} complete, {study.result.pruned} pruned, {study.result.infeasible} infeasible"
        blocks.append(
            Drawing(
                f"history-{slug}",
                "Left: the score of every trial, for pruned trials the last one reported. Right: learning curves; "
                f"crosses mark the end of pruned trials.{_outside(study)}{_left_out(study)}",
                f"Scores of {len(study.trials)} trials ({counts})."
                + (f" The best is {study.result.best:.2f}, trial {study.result.best_trial}." if study.best else ""),
                lambda: draw_history(study),
            )
        )
    if study.importances:
        values = ", ".join(f"{k} {v:.2f}" for k, v in sorted(study.importances.items(), key=lambda item: -item[1]))
        blocks.append(
            Drawing(
                f"importances-{slug}",
                "Importances (PED-ANOVA): the share of the differences in score that each parameter explains.",
                f"Bars: {values}.",
                lambda: draw_importances(study),
            )
        )
    if len(study.scored) >= 2 and study.source.space.sampled:
        best = ", ".join(f"{name} {short(study.scored[0].params[name])}" for name in searched(study))
        complete = [t.score for t in study.scored if t.score is not None]
        blocks += [
            Drawing(
                f"slices-{slug}",
                "The score of complete trials against each parameter; the ring marks the best trial."
                + outside_sentence(complete, rising=study.rising),
                f"One panel for each parameter. The best trial has {best}.",
                lambda: draw_slices(study),
            ),
            Drawing(
                f"parallel-{slug}",
                f"Each line is a complete trial{_of_best(study)}; from grey over blue to orange the score improves. A "
                "score beyond the ends of its axis is drawn at the end.",
                f"Parallel coordinates through {', '.join(searched(study))} to the score. The best line has {best}.",
                lambda: draw_parallel(study),
            ),
        ]
    return blocks


def _of_best(study: StudyFact) -> str:
    return f" of the best {CURVES}" if len(study.scored) > CURVES else ""


def _outside(study: StudyFact) -> str:
    """Return the sentences about what lies outside the ranges of draw_history."""
    words = outside_sentence([t.score for t in study.trials if t.score is not None], rising=study.rising)
    points = curve_points(study)
    n = n_outside(points, curves_shown(study)) if points else 0
    return words + (f" {outside_words(n, len(points), 'points of learning curves')}." if n else "")


def _left_out(study: StudyFact) -> str:
    n = study.n_left_out
    return f" {n} trials of other programs are left out, whose parameters are not those of the study." if n else ""


def _trial_grids(study: StudyFact) -> list[Block]:
    grids: list[Block] = []
    names = searched(study)
    top = study.scored[:BEST_SHOWN]
    if top:
        head = ("trial", *names, "parameters", "s", study.source.spec.metric)
        rows = tuple((str(t.number), *(short(t.params.get(n, "")) for n in names), *_costs(t)) for t in top)
        grids.append(Grid(f"The best {len(top)} of {len(study.scored)} complete, feasible trials.", head, rows))
    failed = [t for t in study.trials if t.fate in (Fate.FAILED, Fate.INFEASIBLE) and t.reason]
    if failed:
        rows = tuple((str(t.number), t.fate, t.reason) for t in failed[-BEST_SHOWN:])
        grids.append(
            Grid(
                f"The last {min(BEST_SHOWN, len(failed))} of {len(failed)} failed or infeasible trials.",
                ("trial", "state", "reason"),
                rows,
                n_left=3,
            )
        )
    return grids


def _costs(trial: TrialFact) -> tuple[str, str, str]:
    size = f"{trial.n_parameters:,}" if trial.n_parameters is not None else ""
    return size, short(trial.seconds) if trial.seconds is not None else "", f"{trial.score:.3f}"


def _best_config(study: StudyFact, storage: str) -> list[Block]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.yaml"
        export([study.source], path)
        document = path.read_text(encoding="utf-8")
    command = shell_command("export", study.name, "--storage", storage, "-o", "best.yaml")
    return [
        Code("Export, train and evaluate the best trial:", "sh", f"{command}\n{_commands('best.yaml', study.name)}"),
        Code(f"The configuration of trial {study.result.best_trial}, as exported (YAML)", "yaml", document),
    ]


def _commands(config: str, name: str) -> str:
    folder = Path("runs") / path_part(name)
    return f"{shell_command('train', config, '-o', folder)}\n{shell_command('evaluate', folder)}\n"


def data_section(found_mixtures: Sequence[MixtureFact]) -> Section:
    """Return the recordings, the splits and the validation mixture of each mixture id."""
    blocks: list[Block] = []
    for mixture in found_mixtures:
        study = mixture.studies[0].source
        data = study.spec.data
        where = f"Mixture {mixture.mixture_id}: " if len(found_mixtures) > 1 else ""
        band = f"{data.band_hz[0]:g}-{data.band_hz[1]:g} Hz" if data.band_hz else "no band-pass"
        validation, split = data.validation, data.split
        blocks.append(
            Paragraph(
                f"{where}fingerprint {study.fingerprint}. {data.rate_hz:g} Hz, {band}, windows of "
                f"{data.window_samples} samples ({data.window_samples / data.rate_hz:.2f} s), level {data.level}. "
                f"Recordings without a fixed use are split {split.train:g}/{split.validation:g}/{split.test:g} "
                f"(train/validation/test) by seed {split.seed}. Validation mixture: {validation.n_windows} windows at "
                f"{', '.join(map(shown_snr, validation.snrs_db))} dB, seed {validation.seed}."
            )
        )
        sources = [("clean", s) for s in data.clean] + [("noise", s) for s in data.noise]
        rows = tuple(_source_row(role, source) for role, source in sources)
        blocks.append(Grid(f"{where}sources.", ("role", "files", "channels", "use"), rows, n_left=4))
        if mixture.corpus is not None:
            blocks.append(_split_grid(mixture, where))
    return Section("Recordings", tuple(blocks))


def _source_row(role: str, source: Source) -> tuple[str, ...]:
    return role, ", ".join(source.files), ", ".join(source.channels) or "first", source.use


def _split_grid(mixture: MixtureFact, where: str) -> Grid:
    assert mixture.corpus is not None
    rows = []
    for name, split in mixture.corpus.splits.items():
        for role, segments in (("clean", split.clean), ("noise", split.noise)):
            minutes = sum(s.n_samples for s in segments) / mixture.corpus.config.rate_hz / 60
            files = ", ".join(dict.fromkeys(f"{s.source.parent.name}/{s.source.name}" for s in segments))
            rows.append((f"{name}, {role}", files, str(len(segments)), f"{minutes:.1f}"))
    return Grid(f"{where}splits.", ("split", "files", "segments", "minutes"), tuple(rows), n_left=2)


def listening_section(studies: Sequence[StudyFact], store: ArtifactStore, estimates: Estimates | None) -> Section:
    """Return sounds and a figure of the best trial, and of the first trained run."""
    blocks: list[Block] = []
    best = next((study for study in studies if study.best is not None), None)
    if best is not None and best.best is not None:
        title = f"trial {best.best.number} of {best.name}"
        blocks += _showcase(artifacts_of(best.source, best.best, store), title, "trial")
        if not blocks:
            blocks.append(
                Paragraph(
                    f"The artifacts of {title} are not in this store; choose another with --artifacts.", warns=True
                )
            )
    if estimates is not None:
        name = estimates.names[0]
        with tempfile.TemporaryDirectory() as folder:
            files = write_showcase(estimates.mixture, estimates.by_method[name], name, Path(folder))
            blocks += _showcase({path.name: path.read_bytes() for path in files}, f"run {name}", "run")
    if not blocks:
        return Section("Listening", ())
    about = (
        "The window with the median SI-SDR at the SNR nearest to -5 dB. The pitch of the sounds is raised "
        f"{PITCH_FACTOR} times without changing their timing, because small loudspeakers do not play 40 Hz."
    )
    return Section("Listening", (Paragraph(about), *blocks))


def _showcase(files: dict[str, bytes], title: str, name: str) -> list[Block]:
    blocks: list[Block] = []
    if "window.png" in files:
        alt = f"Four panels with the same time axis: noisy, clean and estimated signal of {title} with S1 and S2, "
        blocks.append(
            Picture(f"window-{name}", f"{title}: a typical window.", f"{alt}and its spectrogram.", files["window.png"])
        )
    blocks += [Sound(f"{word}-{name}", f"{title}: {word}", files[file]) for file, word in SOUNDS if file in files]
    return blocks


def provenance_section(studies: Sequence[StudyFact], storage: str, runs: Sequence[str]) -> Section:
    """Return the origin of the report and the command to write it again."""
    names = [study.name for study in studies]
    trained = [part for run in runs for part in ("--run", run)]
    command = shell_command("report", *names, "--storage", storage, *trained, "-o", "report.html")
    best = next(((s.source, s.best) for s in studies if s.best is not None), None)
    versions = provenance(*best)["versions"] if best is not None else {"python": platform.python_version()}
    written = datetime.now(UTC).isoformat(timespec="seconds")
    rows = [
        ("written", written),
        ("storage", storage),
        ("code", git_commit()),
        *((name, str(version)) for name, version in versions.items()),
        *((f"{s.name}: seed, recordings", f"{s.source.spec.seed}, {s.source.fingerprint}") for s in studies),
    ]
    grid = Grid(
        "Origin of this report. The versions are of the machine that wrote it.",
        ("", "value"),
        tuple(rows),
        n_left=2,
    )
    return Section("Provenance", (grid, Code("Write it again:", "sh", f"{command}\n")))


def _slug(name: str) -> str:
    """Return `name` as part of an id and a file name. Different names stay different."""
    slug = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else f".{ord(c):x}" for c in name)
    if len(slug) <= MAX_SLUG:
        return slug
    return f"{slug[: MAX_SLUG - 17]}.{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
