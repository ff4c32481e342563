"""Runs side by side: the same windows for all, paired, refused where the mixtures differ."""

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table

from data.config import DataConfig, HeldOutConfig, Source, SplitConfig
from data.corpus import Corpus
from data.mixing.mixture import HeldOut, held_out
from models.classical import CLASSICAL
from search.terminal.console import PlainConsole
from training.checkpoint import save_weights
from training.config import RunConfig, write_run
from training.errors import ConfigError
from training.evaluation.compare import (
    COMPARED_SCORES,
    Comparison,
    Estimates,
    compare,
    estimate_folders,
)
from training.evaluation.compare_files import (
    comparison_document,
    comparison_table,
    draw_comparison,
    few_recordings,
    looks_of,
    method_lines,
    verdict_lines,
    write_comparison,
)
from training.evaluation.figures import LOOKS, line_look
from training.evaluation.scores import score_rows, values_by_window

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(make_run: Callable[..., RunConfig], tmp_path: Path) -> MakeFolder:
    """A trained run's folder with weights drawn by `seed`; keywords go to the run."""

    def make(name: str, seed: int = 0, **options: object) -> Path:
        run, folder = make_run(**options), tmp_path / name
        write_run(run, folder / "run.yaml")
        torch.manual_seed(seed)
        save_weights(run.model.build(run.data.n_channels), folder / "weights.safetensors")
        return folder

    return make


@pytest.fixture(scope="module")
def mixture(corpus: Corpus, data: DataConfig) -> HeldOut:
    """Six windows of all four clean recordings at four SNRs."""
    clean = tuple(segment for split in corpus.splits.values() for segment in split.clean)
    everything = dataclasses.replace(corpus.splits["test"], clean=clean)
    return held_out(everything, data, HeldOutConfig(n_windows=6, snrs_db=(-10.0, -5.0, 0.0, 5.0)))


def estimates_of(mixture: HeldOut, **by_method: np.ndarray) -> Estimates:
    return Estimates(mixture, by_method, tuple(by_method), "test", "f00d")


@pytest.fixture
def two(mixture: HeldOut) -> Estimates:
    """`worse` is the mixture itself, `better` has half its noise."""
    noisy = mixture.noisy[:, :, 0]
    return estimates_of(mixture, worse=noisy, better=noisy - 0.5 * mixture.noise)


@pytest.fixture
def found(two: Estimates) -> Comparison:
    return compare(two, n_resamples=300)


def test_means_are_those_of_the_evaluation(two: Estimates, found: Comparison) -> None:
    """`compare` and `evaluate` cannot tell different scores of the same estimates."""
    for row in score_rows(two.by_method, two.mixture, COMPARED_SCORES):
        for score, value in row.scores.items():
            assert found.line(row.method, score, row.snr_db).value.mean == pytest.approx(value)


def test_a_difference_is_taken_window_by_window(two: Estimates, found: Comparison) -> None:
    """Halving the noise is worth 6.02 dB nearly everywhere, however much the windows differ: the paired interval is
    far narrower than that of either method."""
    line = found.line("better", "si_sdr_db", None)
    assert line.difference is not None
    assert line.difference.mean == pytest.approx(20 * np.log10(2), abs=0.5)
    assert line.difference.excludes_zero
    at = found.line("better", "si_sdr_db", 0.0)
    assert at.difference is not None
    assert found.line("worse", "si_sdr_db", 0.0).difference is None
    per_window = [values_by_window("si_sdr_db", two.mixture, two.by_method[m]) for m in ("better", "worse")]
    assert at.difference.mean == pytest.approx(float(np.mean(per_window[0][2] - per_window[1][2])))


def test_a_window_without_a_heart_rate_is_missing_for_all_alike(mixture: HeldOut) -> None:
    clean, bpm = mixture.clean.copy(), mixture.reference_bpm.copy()
    clean[1], bpm[1] = 0.0, np.nan
    silent = dataclasses.replace(mixture, clean=clean, reference_bpm=bpm)
    noisy = mixture.noisy[:, :, 0]
    for estimate in (noisy, np.zeros_like(noisy)):
        values = values_by_window("hr_within_5_bpm", silent, estimate)
        assert values.shape == (4, 6)
        assert (np.isnan(values) == (np.arange(6) == 1)).all()
    both = compare(estimates_of(silent, a=noisy, b=np.zeros_like(noisy)), n_resamples=100)
    assert both.line("b", "hr_within_5_bpm", -5.0).n_windows == 5
    assert both.line("b", "si_sdr_db", -5.0).n_windows == 6


def test_equal_weights_differ_by_nothing_and_others_do(make_folder: MakeFolder) -> None:
    folders = [make_folder("a"), make_folder("b"), make_folder("c", seed=5)]
    found = compare(estimate_folders(folders, threads=1), n_resamples=100)
    assert (found.methods, found.reference) == (("a", "b", "c"), "a")
    for score in COMPARED_SCORES:
        same = found.line("b", score, None).difference
        assert same is not None
        assert same.mean == 0
    other = found.line("c", "si_sdr_db", None).difference
    assert other is not None and other.mean != 0


def test_classical_methods_stand_beside_the_runs(make_folder: MakeFolder) -> None:
    estimates = estimate_folders([make_folder("a")], threads=1, classical=True)
    assert tuple(estimates.by_method) == (*CLASSICAL, "a")
    assert compare(estimates, n_resamples=100).reference == "a"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": HeldOutConfig(n_windows=4, snrs_db=(-5.0, 0.0), seed=2)}, "data.test.seed is 2, but a has 1"),
        ({"test": HeldOutConfig(n_windows=4, snrs_db=(-5.0,), seed=1)}, "data.test.snrs_db"),
        ({"window_samples": 512}, "data.window_samples is 512, but a has 1024"),
        ({"split": SplitConfig(seed=3)}, "data.split.seed is 3"),
        ({"level": "raw"}, "data.level is raw"),
    ],
)
def test_runs_of_other_mixtures_are_refused_by_the_fields_name(
    changes: dict[str, object], words: str, make_folder: MakeFolder, data: DataConfig
) -> None:
    other = make_folder("b", data=dataclasses.replace(data, **changes))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=words):
        estimate_folders([make_folder("a"), other])


def test_runs_on_other_recordings_are_refused_though_all_fields_agree(
    make_folder: MakeFolder, data: DataConfig, recordings: Path, corpus: Corpus
) -> None:
    """Files spelled another way are the same recordings; without the one that the mixture was made of they are not."""
    (used,) = corpus.splits["test"].noise
    spelled = Source(tuple(str(recordings / f"clean_{i}.npz") for i in range(4)))
    fewer = Source(tuple(str(path) for path in sorted(recordings.glob("noise_*.npz")) if path != used.source))
    a = make_folder("a")
    same = make_folder("same", data=dataclasses.replace(data, clean=(spelled,)))
    assert estimate_folders([a, same], threads=1).names == ("a", "same")
    other = make_folder("other", data=dataclasses.replace(data, noise=(fewer,)))
    with pytest.raises(ConfigError, match=r"other: data\.noise lead to other held-out windows than those of a"):
        estimate_folders([a, other])


def test_one_data_document_serves_runs_of_different_mixtures(
    make_folder: MakeFolder, data: DataConfig, make_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    plan = HeldOutConfig(n_windows=3, snrs_db=(0.0,))
    other = make_folder("b", data=dataclasses.replace(data, test=plan))
    write_run(make_run(data=dataclasses.replace(data, test=plan)), tmp_path / "data.yaml")
    estimates = estimate_folders([make_folder("a"), other], tmp_path / "data.yaml", threads=1)
    assert estimates.mixture.snrs_db == (0.0, math.inf)
    assert estimates.mixture.noisy.shape[:2] == (2, 3)


def test_a_comparison_needs_recordings_of_its_split_alone(
    make_folder: MakeFolder, data: DataConfig, make_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    clean, noise = (
        tuple(dataclasses.replace(source, use="test") for source in sources) for sources in (data.clean, data.noise)
    )
    write_run(make_run(data=dataclasses.replace(data, clean=clean, noise=noise)), tmp_path / "data.yaml")
    estimates = estimate_folders([make_folder("a"), make_folder("b")], tmp_path / "data.yaml", threads=1)
    assert estimates.n_recordings == 4


def test_a_run_is_named_by_its_folder_and_by_its_path_where_that_is_not_enough(make_folder: MakeFolder) -> None:
    folders = [make_folder("x/final"), make_folder("y/final")]
    assert estimate_folders(folders, threads=1).names == tuple(map(str, folders))
    with pytest.raises(ConfigError, match="named twice"):
        estimate_folders([folders[0], folders[0] / ".." / "final"])
    with pytest.raises(ConfigError, match="not a run's folder"):
        estimate_folders([folders[0], folders[0].parent])
    with pytest.raises(ConfigError, match="test or validation is needed"):
        estimate_folders(folders, split="train")


def test_the_files_hold_every_line(found: Comparison, tmp_path: Path) -> None:
    write_comparison(found, tmp_path)
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.lines) == 2 * 3 * 5
    for row, line in zip(rows, found.lines, strict=True):
        assert (row["method"], row["score"]) == (line.method, line.score)
        assert row["snr_db"] == ("mean" if line.snr_db is None else f"{line.snr_db:g}")
        assert float(row["mean"]) == pytest.approx(line.value.mean, abs=1e-4)
        assert (row["difference_low"] == "") == (line.difference is None)
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_document_is_strict_json_with_null_for_the_unknown(mixture: HeldOut) -> None:
    """One recording has no interval: null, not NaN."""
    one = dataclasses.replace(mixture, recording=np.zeros(6, np.int64))
    found = compare(estimates_of(one, a=mixture.noisy[:, :, 0]), n_resamples=100)
    document = json.loads(json.dumps(comparison_document(found), allow_nan=False))
    assert document["lines"][0]["value"]["low"] is None
    assert (document["n_resamples"], document["seed"], document["confidence"]) == (100, 0, 0.95)


def test_the_widest_table_fits_80_columns(mixture: HeldOut) -> None:
    names = {f"run_with_a_long_name_{i}": mixture.noisy[:, :, 0] * (i + 1) for i in range(2)}
    found = compare(estimates_of(mixture, zeros=mixture.noisy[:, :, 0] * 0, **names), "run_with_a_long_name_0")
    console = Console(file=io.StringIO(), width=80)
    for score in COMPARED_SCORES:
        console.print(comparison_table(found, score))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    assert "-60.0..-60.0" in text
    assert "zeros over" not in text


@pytest.mark.parametrize(("n", "words"), [(1, "no interval"), (2, "50%"), (4, "88%"), (5, "")])
def test_few_recordings_are_warned_of(n: int, words: str) -> None:
    assert (words in few_recordings(n)) if words else not few_recordings(n)


def test_the_method_is_stated(found: Comparison) -> None:
    text = " ".join(method_lines(found))
    for words in ("bootstrap by recording", "300 resamples", "seed 0", "over worse are paired by window", "4 clean"):
        assert words in text


@pytest.fixture
def many(mixture: HeldOut) -> Estimates:
    """The same with six recordings of a window each, so that a difference can be clear; and a run equal to `worse`."""
    noisy = mixture.noisy[:, :, 0]
    six = dataclasses.replace(mixture, recording=np.arange(6))
    return estimates_of(six, worse=noisy, better=noisy - 0.5 * mixture.noise, equal=noisy)


def shown(table: Table) -> str:
    """The table as a command prints it, without colours."""
    console = PlainConsole()
    console.file = io.StringIO()
    console.print(table)
    return console.file.getvalue()


def test_a_reader_sees_which_run_is_better_by_how_much_and_whether_that_is_clear(many: Estimates) -> None:
    lines = verdict_lines(compare(many, n_resamples=300))
    assert len(lines) == 2 * len(COMPARED_SCORES)
    ends = r"\+(\d\.\d\d) \(\+(\d\.\d\d)\.\.\+(\d\.\d\d)\)"
    better = re.fullmatch(
        rf"better over worse, SI-SDR in dB: {ends}, better is better: the interval excludes 0", lines[0]
    )
    assert better is not None, lines[0]
    mean, low, high = map(float, better.groups())
    assert 0 < low <= mean <= high and mean == pytest.approx(6.0, abs=0.6)
    assert "equal over worse, SI-SDR in dB: +0.00 (+0.00..+0.00), not clear: the interval holds 0" in lines
    turned = verdict_lines(compare(many, "better", n_resamples=300))
    assert turned[0].startswith("worse over better, SI-SDR in dB: -") and "), better is better: " in turned[0]


def test_few_recordings_make_no_difference_clear_and_one_makes_no_interval(two: Estimates, mixture: HeldOut) -> None:
    found = compare(two, n_resamples=300)
    assert verdict_lines(found)[0].endswith("the interval excludes 0, but 4 recordings are too few to tell")
    assert "*" not in shown(comparison_table(found, "si_sdr_db"))
    one = dataclasses.replace(mixture, recording=np.zeros(6, np.int64))
    noisy = mixture.noisy[:, :, 0]
    alone = compare(estimates_of(one, a=noisy, b=noisy - 0.5 * mixture.noise), n_resamples=300)
    assert re.fullmatch(r"b over a, SI-SDR in dB: \+\d\.\d\d, no interval", verdict_lines(alone)[0])


def test_clear_differences_are_starred_where_a_terminal_has_no_bold(many: Estimates) -> None:
    text = shown(comparison_table(compare(many, n_resamples=300), "si_sdr_db"))
    rows = [line for line in text.splitlines() if "over" in line]
    assert [(row.split()[:2], row.count("*")) for row in rows] == [(["better", "over"], 5), (["equal", "over"], 0)]
    assert "[bold]" not in text
    assert "* marks intervals that exclude 0" in " ".join(method_lines(compare(many, n_resamples=300)))


def test_the_document_says_which_intervals_exclude_0(many: Estimates) -> None:
    document = comparison_document(compare(many, n_resamples=300))
    found = {(line["method"], line["snr_db"]): line["difference"] for line in document["lines"][:15]}
    assert found["worse", None] is None
    assert (found["better", None]["excludes_zero"], found["equal", None]["excludes_zero"]) == (True, False)


def test_a_figure_says_what_its_differences_are_and_cuts_off_a_run_that_failed(many: Estimates) -> None:
    silent = np.random.default_rng(0).normal(0, 1e-9, many.by_method["worse"].shape).astype(np.float32)
    broken = dataclasses.replace(many, by_method={**many.by_method, "broken": silent})
    top, *_, bottom, _, _ = draw_comparison(compare(broken, n_resamples=300)).axes
    assert bottom.get_ylabel() == "each over worse"
    assert top.get_title(loc="right")[1:] == " 4 of 16 means outside"
    assert top.get_ylim()[0] > -40.0
    two = draw_comparison(compare(dataclasses.replace(many, by_method=dict(list(many.by_method.items())[:2]))))
    assert two.axes[3].get_ylabel() == "better over worse"


def test_classical_methods_look_the_same_in_every_comparison(mixture: HeldOut) -> None:
    noisy = mixture.noisy[:, :, 0]
    found = compare(estimates_of(mixture, wiener=noisy, oracle=noisy, a=noisy, b=noisy), "a", n_resamples=100)
    looks = looks_of(found)
    assert looks["wiener"] == LOOKS["wiener"].in_matplotlib
    assert (looks["a"], looks["b"]) == (line_look(0), line_look(1))
