"""A report on studies: one page that says what was searched, on what, and what came of it."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from data.files import atomic
from search.report.facts import MixtureFact, StudyFact, gather, mixtures
from search.report.figures import write_figures
from search.report.html import html_of
from search.report.markdown import write_md
from search.report.page import Page, Section, Words
from search.report.results import cost_section, mixture_section, overview_section, runs_section
from search.report.studies import data_section, listening_section, provenance_section, study_sections
from search.storage.optuna_private import ArtifactStore
from search.study.study import Study
from training.errors import ConfigError
from training.evaluation.compare import estimate_folders
from training.evaluation.scores import SCORES

FORMATS = {".html": "html", ".htm": "html", ".md": "md"}


def format_of(output: Path, wanted: str | None) -> str:
    """The format to write `output` in, by its ending or as `wanted`. Raises ConfigError where neither will do."""
    if wanted is not None and wanted not in FORMATS.values():
        raise ConfigError(f"--format is {wanted!r}; html or md is needed")
    by_ending = FORMATS.get(output.suffix.lower())
    if by_ending is None or (wanted is not None and wanted != by_ending):
        raise ConfigError(f"-o {output}: a report is written as .html or .md; let the ending and --format agree")
    return by_ending


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
    """The page about `searches`. storage: their database in words, without its password.

    runs: folders of trained runs, put to their test mixture, which they must share. Classical rows need the
    recordings; where they are not here, the page says so. Raises ConfigError for runs that do not compare.
    """
    found, facts = gather(studies, engine)
    by_letter = mixtures(facts, classical=classical)
    estimates = estimate_folders(runs, None, "test", threads, classical=classical) if runs else None
    sections = [
        overview_section(facts, found),
        *(mixture_section(mixture, several=len(by_letter) > 1) for mixture in by_letter),
        *(cost_section(mixture, several=len(by_letter) > 1) for mixture in by_letter),
        *([runs_section(estimates, runs)] if estimates is not None else []),
        listening_section(facts, store, estimates),
        Section("Studies", (Words("Each study's space, trials and best configuration."),)),
        *(section for study in facts for section in study_sections(study, storage)),
        data_section(by_letter),
        provenance_section(facts, storage, [str(run) for run in runs]),
    ]
    names = ", ".join(dict.fromkeys(study.source.spec.name for study in facts))
    return Page(f"Search report: {names}", _lead(facts, by_letter), tuple(s for s in sections if s.blocks))


def write_report(page: Page, output: Path, kind: str, figures: Path | None = None) -> None:
    """Write `page` as "html" or "md", and its figures as PDF and PNG in the folder `figures` where one is named."""
    if figures is not None:
        write_figures(page.drawings, figures)
    if kind == "md":
        write_md(page, output)
        return
    text = html_of(page)
    with atomic(output) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _lead(studies: Sequence[StudyFact], by_letter: Sequence[MixtureFact]) -> str:
    """What came of it, in a few sentences."""
    n_finished = sum(study.result.finished for study in studies)
    first = f"{n_finished} trials of {len(studies)} {'study' if len(studies) == 1 else 'studies'} are finished."
    parts = [first]
    for mixture in by_letter:
        best = mixture.studies[0]
        on = f" on mixture {mixture.letter}" if len(by_letter) > 1 else ""
        if best.result.best is None:
            parts.append(f"None is complete{on} yet.")
            continue
        metric = best.source.spec.metric
        unit = f" {SCORES[metric].unit}" if SCORES[metric].unit else ""
        parts.append(
            f"The best one{on} is trial {best.result.best_trial} of {best.name} ({best.result.family}): {metric} "
            f"{best.result.best:.2f}{unit}."
        )
    return " ".join(parts)
