"""Print a comparison of several studies, or return it as plain values."""

import dataclasses
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from search.study.comparison import StudyComparison, StudyResult
from training.report import shown_snr


def show_comparison(found: StudyComparison, console: Console) -> None:
    """Print a line for each study, best first within each validation mixture, and footnotes.

    Studies on different mixtures have different mixture ids. A footnote names what differs from mixture A.
    """
    if not found.results:
        console.print("no study yet; create one: drivebeat create search/studies/all_families.toml")
        return
    snrs = sorted({snr for result in found.results for snr in result.si_sdr_db}, key=float)
    # without padding: seven columns must fit into 80 characters
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0, highlight=False)
    table.add_column("study", overflow="fold")
    by_snr = "SI-SDR dB at\n" + " ".join(f"{shown_snr(float(snr)):>5}" for snr in snrs)
    counts = "c/p/i/f" if _any_infeasible(found) else "c/p/f"  # 80 columns are just enough
    for heading in (f"trials\n{counts}", "best", by_snr, "par.", "ms", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in found.results:
        table.add_row(
            _name(result, found),
            _counts(result, infeasible=_any_infeasible(found)),
            f"{result.best:+.2f}" if result.best is not None else "none",
            " ".join(f"{result.si_sdr_db[snr]:5.1f}" if snr in result.si_sdr_db else "     " for snr in snrs),
            _in_thousands(result.n_parameters),
            f"{result.latency_ms:.1f}" if result.latency_ms is not None else "",
            f"{result.trial_s:.0f}" if result.trial_s is not None else "",
        )
    console.print(table)
    for line in _footnotes(found):
        console.print(line, highlight=False, markup=False)


def _any_infeasible(found: StudyComparison) -> bool:
    return any(result.infeasible for result in found.results)


def _counts(result: StudyResult, *, infeasible: bool) -> str:
    """Trials by fate; infeasible ones only if the table has a place for them."""
    middle = f"{result.pruned}/{result.infeasible}" if infeasible else f"{result.pruned}"
    return f"{result.complete}/{middle}/{result.failed}"


def comparison_document_of_studies(found: StudyComparison) -> dict[str, Any]:
    """Return `found` as plain values for JSON."""
    return {
        "results": [{**dataclasses.asdict(r), "finished": r.finished} for r in found.results],
        "differences": {mixture: list(keys) for mixture, keys in found.differences.items()},
    }


def _name(result: StudyResult, found: StudyComparison) -> str:
    """Return the study's family if each study has another one, else its name, after the mixture id if there are several
    mixtures.
    """
    families = [other.family for other in found.results]
    name = result.family if len(set(families)) == len(families) else result.study
    return f"{result.mixture} {name}" if found.differences else name


def _in_thousands(n: int | None) -> str:
    if n is None:
        return ""
    return f"{n / 1e6:.1f}M" if n >= 999_500 else f"{n / 1e3:.0f}k"


def _footnotes(found: StudyComparison) -> list[str]:
    results = found.results
    lines = []
    for mixture, keys in found.differences.items():
        lines.append(f"{mixture} cannot be compared with A: other {', '.join(keys)}.")
    unfinished = [_name(result, found) for result in results if not result.spent]
    if unfinished:
        lines.append(f"Not finished: {', '.join(unfinished)}.")
    metrics = ", ".join(sorted({result.metric for result in results}))
    lines.append(
        f"best: {metrics} of the best trial; SI-SDR, par. (parameters) and ms (one window on one CPU thread, measured "
        "here) are of that trial. c, p, i, f: complete, pruned, infeasible, failed. "
        "s: seconds of training, median over complete trials."
    )
    return lines
