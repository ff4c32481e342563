"""Beats of whole recordings in an evaluation: columns, words, the reliability in numbers and as a picture."""

import csv
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from objectives.rhythm.confidence import Calibrator
from training.calibration import DEFAULT, Calibration
from training.evaluation.beats import OfMethod, beats_table, described_noise, with_beats, write_beats
from training.evaluation.scores import Row
from training.evaluation.whole import COLUMNS, Cases, Measured, joined

HALVED = Calibration(0.45, Calibrator((0.0, 1.0), (0.0, 0.5)), Calibrator((0.0, 1.0), (0.0, 0.5)), "network")
ROWS = [Row(method, snr_db, {"si_sdr_db": 1.0}) for method in ("zeros", "identity", "mine") for snr_db in (-5.0, 5.0)]


def spans(probability: list[float], right: list[bool]) -> Cases:
    return Cases(np.array(probability), np.array(right), np.array([0.9]), np.array([True]), np.array([1, 0, 0]))


@pytest.fixture
def measured() -> Measured:
    """The network is sure of more than the envelope, and of noise too."""
    return Measured(
        {
            "network": {
                -5.0: spans([0.95, 0.92, 0.8], [True, False, False]),
                5.0: spans([0.95] * 3, [True] * 3),
                -np.inf: spans([0.95, 0.2, 0.1, 0.0], [False] * 4),
            },
            "envelope": {-5.0: spans([0.1] * 3, [False] * 3), 5.0: spans([0.1] * 3, [False] * 3)},
            "identity": {-5.0: spans([0.5, 0.5, 0.91], [False] * 2 + [True]), 5.0: spans([0.95] * 3, [True] * 3)},
        },
        2,
        1.0,
        0.5,
    )


def test_the_model_has_its_calibration_and_the_noisy_signal_the_default(measured: Measured) -> None:
    found = {
        (row.method, row.snr_db): row.scores for row in with_beats(ROWS, measured, OfMethod("mine", HALVED, "network"))
    }
    assert all(row["si_sdr_db"] == 1.0 and tuple(row)[1:] == COLUMNS for row in found.values())
    assert found["mine", -5.0]["usable_share"] == pytest.approx(2 / 3)
    assert found["mine", -5.0]["wrong_share"] == pytest.approx(1 / 2)
    assert found["mine", 5.0]["calibration_error"] == pytest.approx(1 - 0.475)
    assert found["identity", -5.0]["usable_share"] == pytest.approx(1 / 3)
    assert all(np.isnan(found["zeros", -5.0][name]) for name in COLUMNS)
    by_envelope = with_beats(ROWS, measured, OfMethod("mine", DEFAULT, "envelope"))
    assert [row.scores["usable_share"] for row in by_envelope if row.method == "mine"] == [0, 0]


def test_a_model_that_is_called_identity_is_measured_as_a_model(measured: Measured) -> None:
    found = with_beats(ROWS, measured, OfMethod("identity", DEFAULT, "envelope"))
    assert [row.scores["usable_share"] for row in found if row.method == "identity"] == [0, 0]


def test_sure_rates_in_noise_are_counted(measured: Measured) -> None:
    assert described_noise(measured, OfMethod("mine", HALVED, "network")) == (
        "noise without a heart: 1 of 4 spans have a sure heart rate"
    )
    assert described_noise(measured, OfMethod("mine", HALVED, "envelope")).endswith("none in the recordings")


def test_the_table_has_both_methods_at_each_snr(measured: Measured) -> None:
    """Clean windows, which have rows in an evaluation, are no stretches of a mixture."""
    console = Console(width=120, record=True, quiet=False, file=Path("/dev/null").open("w"))  # noqa: SIM115
    rows = [*ROWS, *(replace(row, snr_db=np.inf) for row in ROWS[:2])]
    console.print(beats_table(with_beats(rows, measured, OfMethod("mine", HALVED, "network")), "mine"))
    console.file.close()
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if "usable time" in line]
    assert [[cell.strip() for cell in line[1:]] for line in lines] == [
        ["identity", "0.33", "1.00"],
        ["mine", "0.67", "1.00"],
    ]


@pytest.mark.parametrize("calibration", [HALVED, DEFAULT, Calibration(np.inf)], ids=["halved", "default", "never"])
def test_the_reliability_is_written_and_drawn(measured: Measured, tmp_path: Path, calibration: Calibration) -> None:
    method = OfMethod("mine", calibration, "network")
    write_beats(with_beats(ROWS, measured, method), measured, method, tmp_path)
    with (tmp_path / "reliability.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 20
    cases = joined(measured.by_snr["network"].values())
    of_rates = [line for line in lines if line["of"] == "heart rates"]
    assert sum(int(line["cases"]) for line in of_rates) == cases.span_p.size
    n_right = sum(int(line["cases"]) * float(line["share"]) for line in of_rates if line["share"])
    assert n_right == pytest.approx(cases.span_right.sum(), abs=0.01)
    for name in ("reliability.png", "beats.png"):
        assert matplotlib.image.imread(tmp_path / name)[..., :3].std() > 0.02


def test_nothing_to_measure_is_drawn_too(tmp_path: Path) -> None:
    """Recordings that are all too short leave no case."""
    method, nothing = OfMethod("mine", DEFAULT, "envelope"), Measured({}, 0, 0.0, 0.0)
    write_beats(with_beats(ROWS, nothing, method), nothing, method, tmp_path)
    assert (tmp_path / "reliability.png").exists()
