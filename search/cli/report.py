"""Commands that tell of results: report on studies, compare trained runs."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.studies import ARTIFACTS, Artifacts, Storage


def compare_command(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of trained runs, the reference first.")],
    data: Annotated[
        Path | None, typer.Option(help="A document with another data section (a study or a run), for all of them.")
    ] = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    classical: Annotated[bool, typer.Option("--classical", help="Set the classical methods beside them.")] = False,
    resamples: Annotated[int, typer.Option(min=100, metavar="N", help="Of the bootstrap.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, for programs.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Write compare.csv and compare.png there.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own choice.")] = None,
) -> None:
    """Set trained runs side by side on the same test mixture, paired by window.

    Means and differences from the first run have confidence intervals, bootstrapped by recording.
    """
    import json

    from rich.console import Console

    from training.evaluation.compare import COMPARED_SCORES, compare, estimate_folders
    from training.evaluation.compare_files import comparison_document, comparison_table, method_lines, write_comparison

    if len(folders) < 2 and not classical:
        raise typer.BadParameter("one run has nothing to be compared with; name another, or add --classical")
    found = compare(
        estimate_folders(folders, data, split, threads, classical=classical), n_resamples=resamples, seed=seed
    )
    if output is not None:
        write_comparison(found, output)
    if as_json:
        typer.echo(json.dumps(comparison_document(found), indent=2, allow_nan=False))
        return
    console = Console()
    for score in COMPARED_SCORES:
        console.print(comparison_table(found, score))
    for line in method_lines(found):
        console.print(line, highlight=False, markup=False)
    if output is not None:
        typer.echo(f"{output}: compare.csv, compare.png")


def report_command(
    names: Annotated[
        list[str], typer.Argument(metavar="STUDY", help="Studies, or a study file's name for all of its.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="report.html or report.md.")] = Path(
        "report.html"
    ),
    kind: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", help="html or md. \\[default: the output's ending]", show_default=False
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the figures there too, as PDF and PNG for a paper.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run", metavar="RUN", help="Folder of a trained run, judged on its test mixture; may be repeated."
        ),
    ] = None,
    classical: Annotated[
        bool, typer.Option("--classical/--no-classical", help="Judge the classical methods too: reads the recordings.")
    ] = True,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own choice.")] = None,
) -> None:
    """Write one file about studies: space, data, scores, figures, sounds, best configs, provenance.

    The HTML holds everything and asks no network. Markdown keeps figures and sounds in a folder beside it.
    """
    from search.artifacts.folder import open_artifacts
    from search.report.build import build_report, format_of, write_report
    from search.storage.open import explained, masked, open_engine, open_storage, storage_url
    from search.study.study import load_studies

    chosen = format_of(output, kind)
    url = storage_url(storage)
    with explained(url):
        opened = open_storage(url)
        studies = {study.name: study for name in names for study in load_studies(name, opened)}
        page = build_report(
            list(studies.values()),
            open_engine(url),
            open_artifacts(artifacts).artifacts,
            masked(url),
            runs=runs or (),
            classical=classical,
            threads=threads,
        )
    write_report(page, output, chosen, figures)
    n = len(studies)
    typer.echo(f"{output}: {n} {'study' if n == 1 else 'studies'}, {output.stat().st_size / 1e6:.2f} MB")
