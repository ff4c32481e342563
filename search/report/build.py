"""Build the report on studies, and write it to a file."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from data.files import atomic
from search.report.facts import MixtureFact, StudyFact, gather, mixtures
from search.report.figures import write_figures
from search.report.html import html_of
from search.report.markdown import write_md
from search.report.page import Page, Paragraph, Section
from search.report.results import cost_section, mixture_section, overview_section, runs_section
from search.report.studies import data_section, listening_section, provenance_section, study_sections
from search.storage.optuna_private import ArtifactStore
from search.study.study import Study
from training.errors import ConfigError
from training.evaluation.compare import estimate_folders
from training.evaluation.scores import SCORES

FORMATS = {".html": "html", ".htm": "html", ".md": "md"}


def format_of(output: Path, wanted: str | None) -> str:
    """Return the format of a report, "html" or "md", by the suffix of its file.

    output: the file to write.
    wanted: the value of --format, None if it is not given.

    Raises ConfigError for an unknown format or suffix, or if the two differ.
    """
    if wanted is not None and wanted not in FORMATS.values():
        raise ConfigError(f"--format is {wanted!r}; html or md is needed")
    by_suffix = FORMATS.get(output.suffix.lower())
    if by_suffix is None or (wanted is not None and wanted != by_suffix):
        raise ConfigError(f"-o {output}: a report is .html or .md; the suffix and --format must agree")
    return by_suffix


def build_report(
    studies: Sequence[Study],
    engine: Engine,
    store: ArtifactStore,
    storage: str,
    *,
    runs: Sequence[Path] = (),
    classical: bool = True,
    threads: int | None = None,
) -> Page:
    """Return the report on `studies`.

    engine: of the database of the studies.
    store: the artifacts of their trials.
    storage: URL of the database without its password, as the report shows it.
    runs: folders of trained runs to evaluate on their test mixture, which must be the same for all.
    classical: evaluate the classical methods too. If the recordings are missing, the report says so.
    threads: CPU threads of the evaluation, None for torch's default.

    Raises ConfigError for runs that cannot be compared.
    """
    comparison, facts = gather(studies, engine)
    found_mixtures = mixtures(facts, classical=classical)
    estimates = estimate_folders(runs, None, "test", threads, classical=classical) if runs else None
    sections = [
        overview_section(facts, comparison),
        *(mixture_section(mixture, several=len(found_mixtures) > 1) for mixture in found_mixtures),
        *(cost_section(mixture, several=len(found_mixtures) > 1) for mixture in found_mixtures),
        *([runs_section(estimates, runs)] if estimates is not None else []),
        listening_section(facts, store, estimates),
        Section("Studies", (Paragraph("Each study's space, trials and best configuration."),)),
        *(section for study in facts for section in study_sections(study, storage)),
        data_section(found_mixtures),
        provenance_section(facts, storage, [str(run) for run in runs]),
    ]
    names = ", ".join(dict.fromkeys(study.source.spec.name for study in facts))
    return Page(f"Search report: {names}", _lead(facts, found_mixtures), tuple(s for s in sections if s.blocks))


def write_report(page: Page, output: Path, kind: str, figures: Path | None = None) -> None:
    """Write a report.

    page: the report.
    output: the file to write.
    kind: "html" or "md".
    figures: folder to write the figures to as PDF and PNG, None to write none.
    """
    if figures is not None:
        write_figures(page.drawings, figures)
    if kind == "md":
        write_md(page, output)
        return
    text = html_of(page)
    with atomic(output) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # the name of a folder may be no UTF-8


def _lead(studies: Sequence[StudyFact], found_mixtures: Sequence[MixtureFact]) -> str:
    """Return the summary of the results."""
    n_finished = sum(study.result.finished for study in studies)
    parts = [f"{n_finished} trials of {len(studies)} {'study' if len(studies) == 1 else 'studies'} are finished."]
    for mixture in found_mixtures:
        best = mixture.studies[0]
        on = f" on mixture {mixture.mixture_id}" if len(found_mixtures) > 1 else ""
        if best.result.best is None:
            parts.append(f"No trial is complete{on} yet.")
            continue
        metric = best.source.spec.metric
        unit = f" {SCORES[metric].unit}" if SCORES[metric].unit else ""
        parts.append(
            f"The best trial{on} is trial {best.result.best_trial} of {best.name} ({best.result.family}): {metric} "
            f"{best.result.best:.2f}{unit}."
        )
    return " ".join(parts)
