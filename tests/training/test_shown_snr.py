"""A mixture at equal levels is at 0 dB wherever people read it, never at +0 dB."""

import io

import pytest
from rich.console import Console

from training.evaluation.scores import Row
from training.report import shown_snr
from training.runs import score_table


@pytest.mark.parametrize(
    ("snr_db", "shown"), [(-10.0, "-10"), (-2.5, "-2.5"), (0.0, "0"), (-0.0, "0"), (0, "0"), (5.0, "+5")]
)
def test_an_snr_has_a_sign_unless_it_is_0(snr_db: float, shown: str) -> None:
    assert shown_snr(snr_db) == shown


def test_the_table_of_an_evaluation_heads_its_columns_so() -> None:
    console = Console(file=io.StringIO(), width=80)
    rows = [Row("identity", snr_db, {"si_sdr_db": snr_db}) for snr_db in (-5.0, 0.0, 5.0)]
    console.print(score_table(rows, "si_sdr_db", "identity"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(f" {heading} dB " in text for heading in ("-5", "0", "+5"))
    assert "+0" not in text
