"""beats.json: written after training, used by apply, replaced by evaluate, refused where it is no calibration."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from data.corpus import load
from data.recording import Recording
from objectives.rhythm.confidence import Calibrator
from training.calibration import (
    BEATS_FILE,
    DEFAULT,
    Calibration,
    Evidence,
    FittedOn,
    read_calibration,
    write_calibration,
)
from training.checkpoint import WEIGHTS, file_sha256
from training.config import RunConfig
from training.denoising.beats import beats_of
from training.denoising.denoise import denoise, load_denoiser
from training.errors import ConfigError
from training.evaluation.calibrate import calibrated
from training.final import train_all
from training.runs import evaluate_folder, load_model, train_run

MakeRun = Callable[..., RunConfig]
Quiet = Callable[[], Console]
Said = Callable[[Console], str]


@pytest.fixture
def many_snrs(make_run: MakeRun) -> RunConfig:
    """The tiny run with so many validation SNRs that its 30 s of a heart have 51 spans."""
    run = make_run(epochs=1)
    validation = dataclasses.replace(run.data.validation, n_windows=1, snrs_db=tuple(map(float, range(-6, 10))))
    return dataclasses.replace(run, data=dataclasses.replace(run.data, validation=validation))


@pytest.fixture
def trained(many_snrs: RunConfig, tmp_path: Path, quiet: Quiet) -> Path:
    """Its folder, trained and calibrated."""
    train_run(many_snrs, tmp_path / "run", {}, (), quiet())
    return tmp_path / "run"


def fitted_on(folder: Path) -> FittedOn:
    (folder / WEIGHTS).write_bytes(b"weights")
    return FittedOn(file_sha256(folder / WEIGHTS), "ab", (-5.0, 0.0), 0, 3, 12.5, 4.0, 200, 900, 0.015)


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    """A calibration, of the weights in tmp_path."""
    spans, beats = Calibrator((0.2, 0.9), (0.1, 0.97)), Calibrator((0.5,), (0.5,))
    return Calibration(0.8, spans, beats, "envelope", fitted_on(tmp_path))


def test_training_calibrates_and_a_second_time_changes_nothing(
    many_snrs: RunConfig, trained: Path, quiet: Quiet, said: Said
) -> None:
    document = json.loads((trained / BEATS_FILE).read_text())
    assert (document["schema_version"], document["evidence"]) == (1, "envelope")
    on = document["fitted_on"]
    assert (on["weights_sha256"], on["n_recordings"]) == (file_sha256(trained / WEIGHTS), 1)
    assert (on["minutes"], on["noise_minutes"], on["n_spans"]) == (16 * 0.5, 0.5, 51)
    assert on["snrs_db"] == list(range(-6, 10))
    before = (trained / BEATS_FILE).read_bytes()
    console = quiet()
    train_run(many_snrs, trained, {}, (), console)
    assert (trained / BEATS_FILE).read_bytes() == before
    assert BEATS_FILE not in said(console)


def test_a_validation_of_a_few_spans_leaves_the_default_and_says_so(
    run: RunConfig, tmp_path: Path, quiet: Quiet, said: Said
) -> None:
    console = quiet()
    train_run(run, tmp_path / "run", {}, (), console)
    assert not (tmp_path / "run" / BEATS_FILE).exists()
    words = " ".join(said(console).split())
    assert "note: beats are not calibrated (validation recordings have 9 spans of 10 s" in words


def test_apply_takes_the_calibration_of_its_weights(trained: Path, heart: Callable[..., Recording]) -> None:
    denoiser = load_denoiser(trained, "cpu")
    estimate = denoise(denoiser, heart(5, Path("a"), seconds=20.0))
    own, plain = beats_of(estimate, None, denoiser.calibration), beats_of(estimate)
    assert denoiser.calibration.fitted_on is not None
    assert "calibrated on 8 min" in own.calibration.described
    np.testing.assert_allclose(own.probability, denoiser.calibration.of_beats(plain.probability))
    spans = denoiser.calibration.of_spans(np.array([span.probability for span in plain.spans]))
    assert [span.probability for span in own.spans] == pytest.approx(spans.tolist())
    document = json.loads((trained / BEATS_FILE).read_text())
    document["fitted_on"]["weights_sha256"] = "0" * 64
    (trained / BEATS_FILE).write_text(json.dumps(document))
    assert load_denoiser(trained, "cpu").calibration is DEFAULT


def test_an_evaluation_calibrates_a_run_that_is_not(trained: Path, quiet: Quiet, said: Said) -> None:
    """And uses it: the usable time of its table is that of the calibrated probabilities."""
    whole = (trained / BEATS_FILE).read_bytes()
    (trained / BEATS_FILE).unlink()
    console = quiet()
    evaluate_folder(trained, None, trained / "evaluation", "test", 1, console)
    assert (trained / BEATS_FILE).read_bytes() == whole
    assert "calibrated on 8 min of its validation recordings" in " ".join(said(console).split())


@pytest.mark.parametrize("text", ["{", "of other weights"])
def test_a_calibration_that_cannot_be_used_is_made_again(
    text: str, many_snrs: RunConfig, trained: Path, quiet: Quiet
) -> None:
    whole = (trained / BEATS_FILE).read_text()
    (trained / BEATS_FILE).write_text(text if text == "{" else whole.replace(file_sha256(trained / WEIGHTS), "0" * 64))
    corpus = load(many_snrs.data)
    calibrated(many_snrs, load_model(many_snrs, trained), trained, corpus, 1, quiet())
    assert (trained / BEATS_FILE).read_text() == whole


def test_the_best_of_several_seeds_keeps_its_calibration(many_snrs: RunConfig, tmp_path: Path, quiet: Quiet) -> None:
    other = dataclasses.replace(many_snrs, fit=dataclasses.replace(many_snrs.fit, seed=1))
    train_all((many_snrs, other), tmp_path / "run", {}, (), quiet())
    assert load_denoiser(tmp_path / "run", "cpu").calibration.fitted_on is not None


@given(
    threshold=st.one_of(st.just(math.inf), st.floats(0, 1)),
    evidence=st.sampled_from(["network", "envelope"]),
    values=st.lists(st.floats(0, 1), min_size=1, max_size=6).map(sorted),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, threshold: float, evidence: Evidence, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    spans = Calibrator(tuple(np.linspace(0, 1, len(values)).tolist()), tuple(values))
    made = Calibration(threshold, spans, Calibrator((0.5,), (0.5,)), evidence, fitted_on(folder))
    write_calibration(made, folder)
    assert read_calibration(folder) == made
    (folder / WEIGHTS).write_bytes(b"others")
    assert read_calibration(folder) is DEFAULT


def test_a_run_without_it_has_the_default(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is DEFAULT
    assert "0.90" in DEFAULT.described and "not calibrated" in DEFAULT.described


def test_nothing_is_sure_where_no_threshold_is_safe(calibration: Calibration, tmp_path: Path) -> None:
    write_calibration(dataclasses.replace(calibration, threshold=math.inf), tmp_path)
    assert json.loads((tmp_path / BEATS_FILE).read_text())["threshold"] is None
    assert read_calibration(tmp_path).described.startswith("no heart rate is sure")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema_version is 2; this Drivebeat reads 1"),
        ({"threshold": 1.5}, "threshold is 1.5; a number from 0 to 1, or null for never, is needed"),
        ({"threshold": True}, "threshold is True"),
        ({"evidence": "ear"}, "evidence is 'ear'; network or envelope is needed"),
        ({"spans": {"knots": [0.5, 0.1], "values": [0, 1]}}, "ascending numbers in"),
        ({"beats": 3}, "beats"),
        ({"more": 1}, "has the keys"),
        ({"fitted_on": {}}, "fitted_on"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused_in_one_line(
    change: dict[str, Any], words: str, calibration: Calibration, tmp_path: Path
) -> None:
    write_calibration(calibration, tmp_path)
    path = tmp_path / BEATS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError) as refused:
        read_calibration(tmp_path)
    assert words in str(refused.value) and str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{"])
def test_junk_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / BEATS_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=r"beats.json: .*; remove it, and evaluate the run to make it again"):
        read_calibration(tmp_path)
