"""Sections of a report on results: overview, scores on each mixture with classical methods, costs, trained runs."""

import math
from collections.abc import Sequence
from pathlib import Path

from search.report.facts import MixtureFact, StudyFact
from search.report.page import Block, Drawing, Grid, Paragraph, Section
from search.report.plots import draw_cost, draw_progress, draw_snr, outside_sentence
from search.study.comparison import StudyComparison
from search.trials import pareto_front
from training.evaluation.compare import COMPARED_SCORES, Comparison, Estimates, Line, compare
from training.evaluation.compare_files import (
    draw_comparison,
    few_recordings,
    interval_words,
    is_clear,
    method_lines,
)
from training.evaluation.figures import label_of, title_of
from training.evaluation.intervals import Interval
from training.evaluation.scores import SCORES
from training.evaluation.shown import shown_value
from training.numbers import decimal
from training.report import shown_snr, snr_heading


def overview_section(studies: Sequence[StudyFact], comparison: StudyComparison) -> Section:
    """Return the table of all studies, and a figure of their best score so far for each mixture."""
    several = bool(comparison.differences)
    head = ("study", "family", "finished", "c/p/i/f", "metric", "best", "trial", "s")
    rows = tuple(
        (
            f"{r.mixture} {r.study}" if several else r.study,
            r.family,
            f"{r.finished}/{r.budget}",
            f"{r.complete}/{r.pruned}/{r.infeasible}/{r.failed}",
            r.metric,
            decimal(r.best, 2),
            str(r.best_trial) if r.best_trial is not None else "",
            decimal(r.trial_s, 0),
        )
        for r in (study.result for study in studies)
    )
    caption = (
        "The results of each study, best first. c/p/i/f: complete, pruned, infeasible, failed trials. Best: the best "
        "complete, feasible trial. s: median training time of a complete trial in seconds."
    )
    blocks: list[Block] = [Grid(caption, head, rows, n_left=2)]
    blocks += [
        Paragraph(f"Mixture {mixture_id} cannot be compared with A: other {', '.join(keys)}.", warns=True)
        for mixture_id, keys in comparison.differences.items()
    ]
    for mixture_id in dict.fromkeys(study.result.mixture for study in studies):
        own = [study for study in studies if study.result.mixture == mixture_id and study.scored]
        if own:
            name = f"progress-{mixture_id.lower()}" if several else "progress"
            blocks.append(_progress(own, name))
    return Section("Overview", tuple(blocks))


def _progress(studies: Sequence[StudyFact], name: str) -> Drawing:
    ends = "; ".join(f"{s.name} {s.result.best:.2f} by trial {s.result.best_trial}" for s in studies)
    return Drawing(
        name,
        "The best score so far over the complete, feasible trials of each study.",
        f"Step lines of the best score against the trial number. They end at: {ends}.",
        lambda: draw_progress(studies),
    )


def mixture_section(mixture: MixtureFact, *, several: bool) -> Section:
    """Return the scores of the best trials and of the classical methods on one validation mixture."""
    title = f"Validation mixture {mixture.mixture_id}: scores by SNR" if several else "Scores by SNR"
    blocks: list[Block] = []
    scored = [study for study in mixture.studies if study.result.si_sdr_db]
    if scored or mixture.classical is not None:
        lines = "; ".join(f"{s.name}: {_by_snr(s)}" for s in scored) or "no trial yet"
        blocks.append(
            Drawing(
                f"snr-{mixture.mixture_id.lower()}",
                "SI-SDR against the SNR of the mixture. Bars: 95 % intervals of the classical methods by recording; "
                "only means are stored for trials (train the best trial and add it with --run for its intervals).",
                f"SI-SDR in dB of each study's best trial at each SNR. {lines}.",
                lambda: draw_snr(mixture),
            )
        )
    blocks.append(_trials_and_classical(mixture))
    if mixture.classical is not None:
        blocks.append(Paragraph(_footnote(mixture.classical)))
        if warning := few_recordings(mixture.classical.n_recordings):
            blocks.append(Paragraph(warning, warns=True))
    if mixture.missing_reason:
        blocks.append(Paragraph(f"No classical methods. {mixture.missing_reason}", warns=True))
    return Section(title, tuple(blocks))


def _by_snr(study: StudyFact) -> str:
    return ", ".join(f"{value:.1f} at {shown_snr(float(snr))} dB" for snr, value in study.result.si_sdr_db.items())


def _trials_and_classical(mixture: MixtureFact) -> Grid:
    """Return a table with a row for each best trial and classical method.

    Its columns are SI-SDR by SNR, then the mean of each score over the SNRs.
    """
    snrs = sorted({snr for study in mixture.studies for snr in study.result.si_sdr_db}, key=float)
    if mixture.classical is not None:
        snrs = sorted({*snrs, *(f"{snr_db:+g}" for snr_db in mixture.classical.snrs_db)}, key=float)
    rows = []
    for study in mixture.studies:
        if study.best is None:
            continue
        by_snr = study.result.si_sdr_db
        means = [decimal(study.best.user_attrs.get(score), 2) for score in COMPARED_SCORES]
        cells = [f"{by_snr[snr]:.1f}" if snr in by_snr else "" for snr in snrs]
        rows.append((f"{study.name}, trial {study.best.number}", *cells, *means))
    if mixture.classical is not None:
        rows += [_classical_row(mixture.classical, method, snrs) for method in mixture.classical.methods]
    head = (
        "",
        *(f"SI-SDR at {shown_snr(float(snr))} dB" for snr in snrs),
        *(f"{title_of(score)}, mean" for score in COMPARED_SCORES),
    )
    return Grid("Best trials and classical methods on the same windows; intervals in brackets.", head, tuple(rows))


def _classical_row(found: Comparison, method: str, snrs: Sequence[str]) -> tuple[str, ...]:
    at = {f"{snr_db:+g}": snr_db for snr_db in found.snrs_db}
    cells = [_interval(found.line(method, "si_sdr_db", at[snr]).value, 1) if snr in at else "" for snr in snrs]
    means = [_interval(found.line(method, score, None).value, 2) for score in COMPARED_SCORES]
    return (label_of(method), *cells, *means)


def _footnote(found: Comparison) -> str:
    n = found.n_recordings
    return (
        f"{found.n_windows} windows of {n} clean recording{'s' * (n != 1)} at each SNR."
        + f" {interval_words(found)}" * (n > 1)
    )


def cost_section(mixture: MixtureFact, *, several: bool) -> Section:
    """Return the figure and table of score against size and latency of the models."""
    own = [study for study in mixture.studies if any(t.n_parameters for t in study.scored)]
    if not own:
        return Section("Size and speed", ())
    points = [(float(t.n_parameters), t.score) for s in own for t in s.scored if t.n_parameters and t.score is not None]
    front = "; ".join(f"{size:,.0f}: {score:.2f}" for size, score in pareto_front(points, rising=own[0].rising))
    rows = tuple(
        (
            s.name,
            s.result.family,
            decimal(s.result.best, 2),
            f"{s.result.n_parameters or 0:,}",
            decimal(s.result.latency_ms, 1),
        )
        for s in own
    )
    drawing = Drawing(
        f"cost-{mixture.mixture_id.lower()}",
        "Left: every complete trial; the dashed line is the Pareto front. Right: latency of the best trials, measured "
        f"when this report was written.{outside_sentence([score for _, score in points], rising=own[0].rising)}",
        f"Score against parameters. The Pareto front as parameters: score is {front}.",
        lambda: draw_cost(own),
    )
    grid = Grid("Best trials.", ("study", "family", "best", "parameters", "ms per window"), rows, n_left=2)
    return Section(f"Size and speed, mixture {mixture.mixture_id}" if several else "Size and speed", (drawing, grid))


def runs_section(estimates: Estimates, folders: Sequence[Path]) -> Section:
    """Return the scores of trained runs on their test mixture, which no search has used."""
    found = compare(estimates)
    blocks: list[Block] = [
        Paragraph(
            f"Trained runs: {', '.join(str(folder) for folder in folders)}. No trial was selected on these windows."
        ),
        Drawing(
            "runs",
            "Scores against SNR, and on the clean windows without noise, with 95 % intervals by recording. Below: each "
            f"method over {found.reference}.",
            " ".join(
                f"Mean {title_of(score)}: "
                + ", ".join(f"{m} {found.line(m, score, None).value.mean:.2f}" for m in found.methods)
                + "."
                for score in COMPARED_SCORES
            ),
            lambda: draw_comparison(found),
        ),
    ]
    blocks += [_run_grid(found, score) for score in COMPARED_SCORES]
    blocks += [Paragraph(line) for line in method_lines(found)]
    return Section("Trained runs on the test mixture", tuple(blocks))


def _run_grid(found: Comparison, score: str) -> Grid:
    digits = 1 if SCORES[score].unit == "dB" else 2
    columns = (*found.snrs_db, None)
    rows = []
    for method in found.methods:
        lines = [found.line(method, score, at) for at in columns]
        difference = lines[-1].difference
        rows.append(
            (
                label_of(method),
                *(_line_cell(line, digits) for line in lines),
                _interval(difference, digits, sign="+", star=is_clear(found, difference)) if difference else "",
            )
        )
    head = ("", *map(snr_heading, found.snrs_db), "mean", f"over {found.reference}")
    return Grid(f"{title_of(score)}, with 95 % intervals.", head, tuple(rows))


def _line_cell(line: Line, digits: int) -> str:
    """Return the cell of a value."""
    value = line.value
    if line.snr_db != math.inf:
        return _interval(value, digits)
    mean, ends = shown_value(line.score, line.snr_db, value, digits)
    return f"{mean}\n[{value.low:.{digits}f}, {value.high:.{digits}f}]" if ends else mean


def _interval(value: Interval, digits: int, sign: str = "", *, star: bool = False) -> str:
    if value.mean != value.mean:
        return ""
    mean = f"{value.mean:{sign}.{digits}f}{'*' * star}"
    return mean if value.low != value.low else f"{mean}\n[{value.low:.{digits}f}, {value.high:.{digits}f}]"
