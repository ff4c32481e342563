"""What a model does to recordings without noise is scored beside the SNRs, and changes nothing else."""

import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from rich.console import Console

from data.config import DataConfig, HeldOutConfig
from data.corpus import Corpus, Segment
from data.mixing.mixture import HeldOut, held_out
from models.classical import CLASSICAL
from search.report.page import Grid
from search.report.results import runs_section
from training.config import RunConfig, from_document, to_document
from training.decode import decode, encode
from training.documents import read_document
from training.errors import ConfigError
from training.evaluation.by import evaluate_by, part_document, part_table, write_parts
from training.evaluation.compare import Comparison, Estimates, compare
from training.evaluation.compare_files import (
    comparison_document,
    comparison_table,
    draw_comparison,
    method_lines,
    write_comparison,
)
from training.evaluation.harm import CleanRecording, clean_lines, clean_recordings, worse_than_nothing
from training.evaluation.scores import (
    CLEAN_LIMIT_DB,
    OWN_SCORES,
    TABLE_SCORES,
    Row,
    Score,
    classical_rows,
    means_of,
    score_rows,
    values_at,
    values_by_window,
)
from training.evaluation.showcase import draw_scores, typical_window, write_table
from training.runs import SHOWN_SCORES, rows_document, score_table

Signals = NDArray[np.float32]
PLAN = HeldOutConfig(n_windows=6, snrs_db=(-10.0, -5.0, 0.0, 5.0))


@pytest.fixture(scope="module")
def segments(corpus: Corpus) -> tuple[Segment, ...]:
    """All four clean recordings."""
    return tuple(segment for split in corpus.splits.values() for segment in split.clean)


def mixed(corpus: Corpus, data: DataConfig, segments: tuple[Segment, ...], *, clean_too: bool) -> HeldOut:
    everything = dataclasses.replace(corpus.splits["test"], clean=segments)
    return held_out(everything, data, PLAN, clean_too=clean_too)


@pytest.fixture(scope="module")
def mixture(corpus: Corpus, data: DataConfig, segments: tuple[Segment, ...]) -> HeldOut:
    """Six windows of all four clean recordings at four SNRs and without noise."""
    return mixed(corpus, data, segments, clean_too=True)


def noisy_of(mixture: HeldOut) -> Signals:
    return np.ascontiguousarray(mixture.noisy[:, :, 0])


def at_distance(mixture: HeldOut, distance_db: float) -> Signals:
    """Estimates of every window whose error is orthogonal to the clean signal and `distance_db` below it."""
    rng = np.random.default_rng(0)
    clean = mixture.clean.astype(np.float64)
    error = rng.standard_normal(clean.shape)
    error -= np.sum(error * clean, axis=1, keepdims=True) / np.sum(clean**2, axis=1, keepdims=True) * clean
    error *= np.sqrt(np.sum(clean**2, axis=1, keepdims=True) / np.sum(error**2, axis=1, keepdims=True))
    estimate = (clean + 10 ** (-distance_db / 20) * error).astype(np.float32)
    return np.broadcast_to(estimate, (len(mixture.snrs_db), *estimate.shape))


def printed(table: object) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_clean_windows_are_an_snr_more_and_the_others_are_as_without(
    corpus: Corpus, data: DataConfig, segments: tuple[Segment, ...], mixture: HeldOut
) -> None:
    without = mixed(corpus, data, segments, clean_too=False)
    assert mixture.snrs_db == (*without.snrs_db, math.inf)
    np.testing.assert_array_equal(mixture.noisy[:-1], without.noisy)
    np.testing.assert_array_equal(mixture.noise[:-1], without.noise)
    np.testing.assert_array_equal(mixture.noisy[-1, :, 0], mixture.clean)
    assert not mixture.noise[-1].any()


def test_a_config_with_infinity_is_the_config_without(data: DataConfig, run: RunConfig) -> None:
    """So that no run, study or fingerprint differs by it, and versions that do not know it read every document."""
    listed = HeldOutConfig(n_windows=4, snrs_db=(math.inf, -5.0, 0.0))
    assert listed == HeldOutConfig(n_windows=4, snrs_db=(-5.0, 0.0))
    document = to_document(run)
    for split in ("validation", "test"):
        document["data"][split]["snrs_db"].append(math.inf)
    read = from_document(document, "run.yaml")
    assert read == run
    assert json.dumps(to_document(read), allow_nan=False) == json.dumps(to_document(run), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.toml", "[data.test]\nsnrs_db = [-5.0, inf, 0.0]\n[data]\nclean = []\n"),
        ("x.yaml", "data:\n  test:\n    snrs_db: [-5.0, .inf, 0.0]\n"),
        ("x.json", '{"data": {"test": {"snrs_db": [-5.0, Infinity, 0.0]}}}'),
    ],
)
def test_infinity_is_read_in_every_kind_of_document_and_in_no_other_place(
    name: str, text: str, tmp_path: Path, data: DataConfig
) -> None:
    (tmp_path / name).write_text(text)
    test = read_document(tmp_path / name)["data"]["test"]
    document = {**encode(data), "test": {"n_windows": 4, "seed": 1, **test}}
    assert decode(DataConfig, document, "x: data") == data
    with pytest.raises(ConfigError, match=r"x: data\.rate_hz: inf is not a number a config may hold"):
        decode(DataConfig, {**document, "rate_hz": math.inf}, "x: data")
    with pytest.raises(ConfigError, match=r"x: data\.test\.snrs_db\[0\]: -inf is not a number"):
        decode(DataConfig, {**document, "test": {"snrs_db": [-math.inf]}}, "x: data")


@pytest.mark.parametrize("method", ["identity", "wiener", "oracle"])
def test_methods_that_know_the_noise_return_clean_windows_unchanged(method: str, mixture: HeldOut) -> None:
    found = classical_rows(mixture, (25.0, 55.0))
    assert list(found) == list(CLASSICAL)
    np.testing.assert_array_equal(found[method][-1], mixture.clean)
    assert all(np.isfinite(estimates).all() for estimates in found.values())


@pytest.mark.parametrize("distance_db", [-3.0, 12.3, 40.0])
def test_closeness_is_the_distance_of_the_error(distance_db: float, mixture: HeldOut) -> None:
    values = values_by_window("si_sdr_db", mixture, at_distance(mixture, distance_db))
    np.testing.assert_allclose(values[-1], distance_db, atol=0.01)


def test_an_untouched_window_is_at_the_limit_and_a_score_that_needs_noise_is_unknown(mixture: HeldOut) -> None:
    rows = {row.snr_db: row.scores for row in score_rows({"identity": noisy_of(mixture)}, mixture)}
    clean = rows[math.inf]
    assert clean["si_sdr_db"] == CLEAN_LIMIT_DB
    assert (clean["prd_percent"], clean["mad"]) == (0.0, 0.0)
    assert clean["event_f1"] == 1.0
    assert clean["cosine_similarity"] == pytest.approx(1.0)
    assert [name for name in TABLE_SCORES if math.isnan(clean[name])] == ["snr_improvement_db"]
    assert not any(math.isnan(value) for snr_db, scores in rows.items() if snr_db < 99 for value in scores.values())


@given(
    values=npst.arrays(np.float64, 6, elements=st.floats(allow_nan=True, allow_infinity=True)),
    unit=st.sampled_from(["dB", ""]),
)
def test_any_score_of_clean_windows_has_a_mean(values: NDArray[np.float64], unit: str, mixture: HeldOut) -> None:
    """A plug-in's, too: a ratio to noise that is not there may be infinite. At other SNRs its values are its own."""
    OWN_SCORES["any"] = Score(lambda _: values, unit, "maximize")
    try:
        np.testing.assert_array_equal(values_at("any", mixture, noisy_of(mixture), 0), values)
        found = values_at("any", mixture, noisy_of(mixture), 4)
    finally:
        del OWN_SCORES["any"]
    assert not np.isinf(found).any()
    if unit == "dB":
        np.testing.assert_array_equal(found, np.clip(values, -60.0, 60.0))
    else:
        finite = np.isfinite(values)
        np.testing.assert_array_equal(found[finite], values[finite])
        assert np.isnan(found[~finite]).all()


def test_the_means_are_without_clean_windows(
    corpus: Corpus, data: DataConfig, segments: tuple[Segment, ...], mixture: HeldOut
) -> None:
    without = mixed(corpus, data, segments, clean_too=False)
    rows, before = (score_rows({"mine": noisy_of(m)}, m) for m in (mixture, without))
    assert means_of(rows, "mine") == means_of(before, "mine")
    found, old = (
        compare(Estimates(m, {"a": noisy_of(m), "b": 0.5 * m.noisy[:, :, 0] + 0.5 * m.clean}, ("a", "b"), "test", "f"))
        for m in (mixture, without)
    )
    assert [line for line in found.lines if line.snr_db != math.inf] == list(old.lines)


def rows_of(mixture: HeldOut) -> list[Row]:
    estimates = {"identity": noisy_of(mixture), "mine": at_distance(mixture, 12.3)}
    return score_rows(estimates, mixture)


def test_the_limit_is_written_as_such_for_people_and_as_a_number_for_programs(mixture: HeldOut, tmp_path: Path) -> None:
    rows = rows_of(mixture)
    text = printed(score_table(rows, "si_sdr_db", "mine"))
    lines = {line.split()[1]: line.split("│") for line in text.splitlines() if "│" in line}
    assert [cell.strip() for cell in lines["identity"][-3:-2]] == ["> 60"]
    assert [cell.strip() for cell in lines["mine"][-3:-2]] == ["12.30"]
    assert " clean " in text and "inf" not in text
    assert "nan" not in printed(score_table(rows, "snr_improvement_db", "mine"))
    write_table(rows, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        written = [row for row in csv.DictReader(file) if float(row["snr_db"]) == math.inf]
    assert [(row["method"], row["si_sdr_db"], row["snr_improvement_db"]) for row in written] == [
        ("identity", "60.0000", ""),
        ("mine", "12.3000", ""),
    ]
    document = json.loads(json.dumps(rows_document(rows), allow_nan=False))
    assert [(row["snr_db"], row["si_sdr_db"], row["snr_improvement_db"]) for row in document[4::5]] == [
        ("inf", 60.0, None),
        ("inf", pytest.approx(12.3, abs=0.01), None),
    ]
    assert all(float(row["snr_db"]) == math.inf for row in document[4::5])


@pytest.fixture(scope="module")
def found(mixture: HeldOut) -> Comparison:
    by_method = {"mine": at_distance(mixture, 12.3), "same": noisy_of(mixture), "zeros": 0 * noisy_of(mixture)}
    return compare(Estimates(mixture, by_method, ("mine", "same"), "test", "f00d"), n_resamples=200)


def test_a_comparison_has_a_column_of_clean_windows(found: Comparison, tmp_path: Path) -> None:
    line = found.line("same", "si_sdr_db", math.inf)
    assert line.value.mean == CLEAN_LIMIT_DB
    assert line.difference is not None and line.difference.mean == pytest.approx(60 - 12.3, abs=0.01)
    text = printed(comparison_table(found, "si_sdr_db"))
    assert "clean" in text and "> 60" in text and "…" not in text
    assert any(line.startswith("clean: the same windows without noise") for line in method_lines(found))
    document = json.loads(json.dumps(comparison_document(found), allow_nan=False))
    assert document["snrs_db"] == [-10.0, -5.0, 0.0, 5.0, "inf"]
    assert [line["snr_db"] for line in document["lines"][12:18]] == ["inf"] * 3 + [None] * 3
    write_comparison(found, tmp_path)
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["snr_db"] == "inf"]
    assert len(rows) == 9
    assert rows[1]["mean"] == "60.0000"


def test_clean_windows_stand_beside_the_curves_and_do_not_stretch_them(found: Comparison) -> None:
    axes = draw_comparison(found).axes
    assert len(axes) == 2 * 2 * 3
    curves, clean = axes[0], axes[1]
    assert [label.get_text() for label in axes[7].get_xticklabels()] == ["clean"]
    assert curves.get_ylim()[1] < 30.0
    assert clean.get_ylim()[1] > CLEAN_LIMIT_DB
    assert [clean.yaxis.get_major_formatter()(value) for value in (40.0, 60.0)] == ["40", "> 60"]


def test_the_trained_runs_of_a_report_have_the_column_too(mixture: HeldOut) -> None:
    by_method = {"mine": at_distance(mixture, 12.3), "same": noisy_of(mixture)}
    section = runs_section(Estimates(mixture, by_method, ("mine", "same"), "test", "f00d"), [Path("runs/mine")])
    grid = next(block for block in section.blocks if isinstance(block, Grid))
    assert grid.head == ("", "-10 dB", "-5 dB", "0 dB", "+5 dB", "clean", "mean", "over mine")
    mine, same = grid.rows
    assert mine[5].startswith("12.3\n[12.3, 12.3]")
    assert same[5] == "> 60"
    assert all("inf" not in cell and "nan" not in cell for row in grid.rows for cell in row)


def test_a_score_without_a_meaning_on_clean_windows_is_drawn(tmp_path: Path) -> None:
    """Values that are unknown on clean windows leave their axis empty."""
    rows = {"identity": [-5.0, 0.0, math.nan], "mine": [0.0, 3.0, math.nan]}
    draw_scores(rows, (-5.0, 0.0, math.inf), "snr_improvement_db", tmp_path / "a.png", "mine")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_shown_window_is_a_noisy_one(mixture: HeldOut) -> None:
    snr, _ = typical_window(mixture, noisy_of(mixture))
    assert mixture.snrs_db[snr] == -5.0


def test_each_part_has_the_clean_windows_too(data: DataConfig, tmp_path: Path) -> None:
    """They are the same windows whatever noise the part has."""
    lines = evaluate_by("vehicle", data, "test", PLAN, lambda m: {"mine": at_distance(m, 12.3)}, ("si_sdr_db",))[0]
    lines += evaluate_by("vehicle", data, "test", PLAN, lambda m: {"same": noisy_of(m)}, ("si_sdr_db",))[0]
    clean = [line for line in lines if line.snr_db == math.inf]
    assert [line.value.mean for line in clean if line.method == "same"] == [CLEAN_LIMIT_DB]
    assert [line.value.mean for line in clean if line.method == "mine"] == [pytest.approx(12.3, abs=0.01)]
    assert " clean " in printed(part_table(lines, "si_sdr_db", "same", "vehicle"))
    assert "> 60" in printed(part_table(lines, "si_sdr_db", "same", "vehicle"))
    json.dumps([part_document(line) for line in lines], allow_nan=False)
    assert part_document(clean[0])["snr_db"] == "inf"
    write_parts(lines, tmp_path / "by.csv")
    assert "same,inf,si_sdr_db,6,60.0000" in (tmp_path / "by.csv").read_text()


def test_nothing_is_worse_than_an_untouched_recording(mixture: HeldOut) -> None:
    """The clean windows are no SNR at which a model could be as good as its input."""
    rows = score_rows({"identity": noisy_of(mixture), "mine": at_distance(mixture, 20.0)}, mixture)
    assert worse_than_nothing(rows, "mine", SHOWN_SCORES) == ""
    poor = score_rows({"identity": noisy_of(mixture), "mine": at_distance(mixture, 3.0)}, mixture)
    assert "si_sdr_db at +5 dB" in worse_than_nothing(poor, "mine", ("si_sdr_db",))


def test_each_clean_recording_has_its_contrast_and_its_closeness(
    mixture: HeldOut, segments: tuple[Segment, ...]
) -> None:
    estimates = at_distance(mixture, 12.3).copy()
    estimates[-1, mixture.recording == 2] = mixture.clean[mixture.recording == 2]
    kept = clean_recordings(mixture, estimates, segments)
    assert [recording.name for recording in kept] == [segment.source.name for segment in segments]
    assert [recording.closeness_db for recording in kept] == pytest.approx([12.3, 12.3, 60.0, 12.3], abs=0.01)
    assert sum(recording.n_windows for recording in kept) == 6
    assert all(recording.is_clear for recording in kept)


def lines_of(*recordings: tuple[float, float], n_windows: int = 2) -> list[str]:
    """The sentences on recordings with these contrasts and closenesses."""
    return clean_lines([CleanRecording(f"{i}.wav", *pair, n_windows) for i, pair in enumerate(recordings)], "mine")


def test_a_sentence_says_how_close_clean_recordings_stay() -> None:
    (line,) = lines_of((25.0, 18.0), (12.0, 6.6))
    assert line.startswith("mine returns clean recordings within 12.3 dB (")
    assert "1 of 2 clear: sounds 20 dB or more above their floor" in line
    (line,) = lines_of((25.0, CLEAN_LIMIT_DB))
    assert line.startswith("mine returns clean recordings within more than 60 dB (")


@pytest.mark.parametrize(
    ("contrast_db", "closeness_db", "warns"),
    [(20.0, 14.9, True), (20.0, 15.0, False), (19.9, -60.0, False), (math.nan, 0.0, False), (45.0, -1.0, True)],
)
def test_clear_recordings_alone_are_warned_of(contrast_db: float, closeness_db: float, warns: bool) -> None:
    """What a model takes from a recording without contrast may be its noise."""
    _, *warnings = lines_of((contrast_db, closeness_db), (30.0, 20.0))
    assert bool(warnings) == warns
    if warns:
        assert warnings == [
            f"warning: mine distorts 1 of 2 clear recordings: less than 15 dB; the worst is 0.wav, "
            f"{closeness_db:.1f} dB"
        ]
