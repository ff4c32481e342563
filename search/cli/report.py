"""Commands for results: report on studies, compare trained runs."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Artifacts, Json, Storage
from search.defaults import ARTIFACTS


def compare_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Folders of trained runs, the reference run first.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Study or run file whose data section is used for all runs.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split: test or validation.")] = "test",
    classical: Annotated[bool, typer.Option("--classical", help="Add the classical methods.")] = False,
    resamples: Annotated[int, typer.Option(min=100, metavar="N", help="Resamples of the bootstrap.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Json = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Write compare.csv and compare.png to this folder."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's default.")] = None,
) -> None:
    """Compare trained runs on the same test mixture, paired by window.

    Means and differences from the first run have confidence intervals from a bootstrap over recordings.
    """
    from search.cli.output import print_document
    from search.documents.runs import RunComparison
    from search.terminal.console import PlainConsole
    from training.evaluation.compare import COMPARED_SCORES, compare, estimate_folders
    from training.evaluation.compare_files import (
        comparison_document,
        comparison_table,
        method_lines,
        verdict_lines,
        write_comparison,
    )
    from training.pretrained import run_folder

    if len(folders) < 2 and not classical:
        raise typer.BadParameter("a comparison needs two runs; name another run, or add --classical")
    folders = [run_folder(folder) for folder in folders]
    found = compare(
        estimate_folders(folders, data, split, threads, classical=classical), n_resamples=resamples, seed=seed
    )
    if output is not None:
        write_comparison(found, output)
    if as_json:
        print_document(RunComparison, comparison_document(found))
        return
    console = PlainConsole()
    for score in COMPARED_SCORES:
        console.print(comparison_table(found, score))
    for line in (*verdict_lines(found), *method_lines(found)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if output is not None:
        typer.echo(f"{output}: compare.csv, compare.png")


def report_command(
    names: Annotated[
        list[str], typer.Argument(metavar="STUDY", help="Studies, or the name of a study file for all its studies.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="File to write: report.html or report.md.")
    ] = Path("report.html"),
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="html or md. \\[default: by the suffix of the output]",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write the figures to this folder, as PDF and PNG for a paper."),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run", metavar="RUN", help="Folder of a trained run to evaluate on its test mixture; may be repeated."
        ),
    ] = None,
    classical: Annotated[
        bool,
        typer.Option(
            "--classical/--no-classical", help="Evaluate the classical methods too; this reads the recordings."
        ),
    ] = True,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's default.")] = None,
) -> None:
    """Write a report on studies: spaces, data, scores, figures, sounds, best configurations, provenance.

    HTML is one file that needs no network. Markdown has its figures and sounds in a folder next to it.
    """
    from search.artifacts.open import open_artifacts
    from search.report.build import build_report, format_of, write_report
    from search.storage.open import explained, masked, storage_url
    from search.storage.readable import open_readable
    from search.study.study import load_studies
    from training.pretrained import run_folder

    chosen = format_of(output, kind)
    url = storage_url(storage)
    with explained(url):
        opened = open_readable(url)
        studies = {study.name: study for name in names for study in load_studies(name, opened.storage)}
        page = build_report(
            list(studies.values()),
            opened.engine,
            open_artifacts(artifacts, create=False).artifacts,
            masked(url),
            runs=[run_folder(folder) for folder in runs or ()],
            classical=classical,
            threads=threads,
        )
    write_report(page, output, chosen, figures)
    n = len(studies)
    typer.echo(f"{output}: {n} {'study' if n == 1 else 'studies'}, {output.stat().st_size / 1e6:.2f} MB")
