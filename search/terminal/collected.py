"""Print what `data get` has converted."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from data.config import HEART_BAND_HZ
from training.collect import UNREADABLE, Collected
from training.hearts import GRADES, LEAST_HIGH_HZ

MAX_UNREADABLE = 5  # files that are named with the reason; the others are in the table


def show_collected(done: Collected, console: Console) -> None:
    """Print the numbers of recordings by kind and grade, why others are refused, and what a study must know."""
    table = Table("kind", box=SIMPLE, pad_edge=False)
    for heading in (*GRADES, "minutes", "groups", "refused"):
        table.add_column(heading, justify="right")
    for kind, counts in done.counts.items():
        kept = [row for row in done.rows if row.kind == kind and not row.refused]
        graded = [str(counts[grade]) if grade in counts else "-" for grade in GRADES]
        minutes = sum(float(row.seconds) for row in kept) / 60
        table.add_row(
            kind, *graded, f"{minutes:.1f}", str(len({row.group for row in kept})), str(counts.get("refused", 0))
        )
    console.print(table)
    _show_refused(done, console)
    kept = [row for row in done.rows if not row.refused]
    n_partly = sum(float(row.rate_hz) < 2 * HEART_BAND_HZ[1] for row in kept)
    if n_partly:
        console.print(
            f"{n_partly} carry only a part of the heart's band: their source in a study needs "
            f"highest_hz = {LEAST_HIGH_HZ:g}",
            soft_wrap=True,
        )
    n_bound = sum(row.shippable == "no" for row in kept)
    if n_bound:
        console.print(
            f"{n_bound} are for research only: weights trained on them may not be passed on (shippable in "
            f"{done.table.name})",
            soft_wrap=True,
        )
    n_noted = sum(bool(row.notes) for row in kept)
    if n_noted:
        console.print(f"{n_noted} were read with assumptions: see notes in {done.table.name}", soft_wrap=True)


def _show_refused(done: Collected, console: Console) -> None:
    """Print "refused 12 of 328: 7 clipped, 5 without a rhythm", and the first files that could not be read."""
    if not done.refused:
        return
    reasons = ", ".join(f"{n} {reason}" for reason, n in done.refused.items())
    console.print(f"refused {sum(done.refused.values())} of {len(done.rows)}: {reasons}", soft_wrap=True)
    unreadable = [row.refused for row in done.rows if row.refused.startswith(UNREADABLE)]
    for refused in unreadable[:MAX_UNREADABLE]:
        console.print(f"  {refused}", soft_wrap=True)
    if len(unreadable) > MAX_UNREADABLE:
        console.print(f"  and {len(unreadable) - MAX_UNREADABLE} more: see {done.table.name}", soft_wrap=True)
