"""A run's folder: trained into, trained on, judged."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from data.errors import DataError
from data.recording import Recording
from models import DENOISERS
from models.classical import CLASSICAL
from training.checkpoint import save_weights
from training.config import RunConfig, read_run_with_provenance, write_run
from training.errors import CheckpointError, ConfigError, TrainingFailed
from training.runs import evaluate_folder, evaluate_parts, override, rows_document, train_to_folder
from training.schedule import OptimiserConfig
from training.trackers.base import Tracker
from training.trackers.build import TRACKERS
from training.trainer import CHECKPOINT, WEIGHTS

MakeRun = Callable[..., RunConfig]
Quiet = Callable[[], Console]
Said = Callable[[Console], str]
Heartbeat = Callable[..., Recording]


@pytest.fixture
def trained(run: RunConfig, tmp_path: Path, quiet: Quiet) -> Path:
    """The folder of the tiny run, trained."""
    folder = tmp_path / "runs" / "tiny"
    train_to_folder(run, folder, {"study": "s"}, ["jsonl"], quiet())
    return folder


def test_training_leaves_all_that_the_next_one_needs(run: RunConfig, tmp_path: Path, quiet: Quiet, said: Said) -> None:
    console = quiet()
    best = train_to_folder(run, tmp_path / "r", {"study": "s", "trial": 1}, ["jsonl"], console)
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {"run.yaml", WEIGHTS, CHECKPOINT, "history.jsonl"}
    assert read_run_with_provenance(tmp_path / "r" / "run.yaml") == (run, {"study": "s", "trial": 1})
    history = [json.loads(line) for line in (tmp_path / "r" / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [0, 1, 2]
    assert history[-1]["best_score"] == best
    assert "epoch 3/3" in said(console)


def test_training_again_changes_nothing_and_keeps_the_provenance(run: RunConfig, trained: Path, quiet: Quiet) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    again = train_to_folder(run, trained, {"study": "another"}, ["jsonl"], quiet())
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before
    assert again == json.loads((trained / "history.jsonl").read_text().splitlines()[-1])["best_score"]


def test_a_folder_with_another_run_is_refused_and_left_alone(make_run: MakeRun, trained: Path, quiet: Quiet) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    with pytest.raises(ConfigError, match=r"holds another run: fit\.seed is 0 there, 1 here; choose another folder"):
        train_to_folder(make_run(seed=1), trained, {}, ["jsonl"], quiet())
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "trackers", "error"),
    [
        ({"device": "cuda:99"}, ["jsonl"], ConfigError),
        ({}, ["jsonlines"], ConfigError),
        ({"data": "missing"}, ["jsonl"], DataError),
    ],
)
def test_what_cannot_begin_leaves_no_folder(
    make_run: MakeRun, tmp_path: Path, change: dict[str, Any], trackers: list[str], error: type[Exception], quiet: Quiet
) -> None:
    if change.get("data") == "missing":
        source = dataclasses.replace(make_run().data.clean[0], files=(str(tmp_path / "none*.npz"),))
        change = {"data": dataclasses.replace(make_run().data, clean=(source,))}
    with pytest.raises(error):
        train_to_folder(make_run(**change), tmp_path / "r", {}, trackers, quiet())
    assert not (tmp_path / "r").exists()


def test_other_recordings_than_the_search_s_are_told_of(
    run: RunConfig, tmp_path: Path, quiet: Quiet, said: Said
) -> None:
    console = quiet()
    train_to_folder(run, tmp_path / "r", {"data_fingerprint": "0" * 16}, ["jsonl"], console)
    assert "are not those of the search (0000000000000000)" in " ".join(said(console).split())


def test_trackers_hear_how_a_training_ended(
    make_run: MakeRun, run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Quiet
) -> None:
    heard: list[dict[str, Any]] = []

    class Ear(Tracker):
        def finish(self, summary: Any) -> None:
            heard.append(dict(summary))

    monkeypatch.setitem(TRACKERS, "ear", lambda _: Ear())
    best = train_to_folder(run, tmp_path / "a", {}, ["ear"], quiet())
    model = DENOISERS["autoencoder"](levels=2, width=4, output="linear")  # type: ignore[call-arg]
    hopeless = OptimiserConfig(learning_rate=1e36, clip_norm=0.0, warmup_share=0.0)
    with pytest.raises(TrainingFailed):
        train_to_folder(make_run(optimiser=hopeless, model=model), tmp_path / "b", {}, ["ear"], quiet())
    assert heard[0] == {"si_sdr_db": best, "end": "finished"}
    assert heard[1]["end"].startswith("TrainingFailed: loss is not finite")


def test_override_replaces_what_is_given(run: RunConfig) -> None:
    assert override(run, epochs=None, threads=None) is run
    changed = override(run, epochs=9, threads=None)
    assert (changed.fit.epochs, changed.fit.threads, changed.data) == (9, run.fit.threads, run.data)


def test_evaluation_writes_table_pictures_and_sounds(run: RunConfig, trained: Path, quiet: Quiet, said: Said) -> None:
    console = quiet()
    rows = evaluate_folder(trained, None, trained / "evaluation", "test", 1, console)
    assert {row.method for row in rows} == {*CLASSICAL, "autoencoder"}
    assert {path.name for path in (trained / "evaluation").iterdir()} == {
        "table.csv",
        "si_sdr_db.png",
        "event_f1.png",
        "hr_within_5_bpm.png",
        "beats.png",
        "reliability.png",
        "reliability.csv",
        "window.png",
        "noisy.wav",
        "clean.wav",
        "estimate.wav",
    }
    assert "oracle (bound)" in said(console)
    assert "autoencoder returns clean recordings within " in said(console)
    assert "warning: autoencoder distorts 1 of 1 clear recordings: less than 15 dB; the worst is " in said(console)
    validation = evaluate_folder(trained, None, trained / "v", "validation", 1, quiet())
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    best = next(line for line in history if line["epoch"] == history[-1]["best_epoch"])
    noisy = [row for row in validation if row.method == "autoencoder" and math.isfinite(row.snr_db)]
    ours = {f"{row.snr_db:+g}": row.scores["si_sdr_db"] for row in noisy}
    assert ours == pytest.approx(best["by_snr"], abs=1e-6), "the weights on disk are those of the best epoch"


def test_evaluation_on_other_data(run: RunConfig, trained: Path, tmp_path: Path, quiet: Quiet) -> None:
    held_out = dataclasses.replace(run.data, test=dataclasses.replace(run.data.test, snrs_db=(3.0,)))
    write_run(dataclasses.replace(run, data=held_out), tmp_path / "other.yaml")
    rows = evaluate_folder(trained, tmp_path / "other.yaml", tmp_path / "out", "test", 1, quiet())
    assert {row.snr_db for row in rows} == {3.0, math.inf}


def test_evaluation_needs_recordings_of_its_split_alone(
    run: RunConfig, trained: Path, tmp_path: Path, quiet: Quiet
) -> None:
    clean, noise = (
        tuple(dataclasses.replace(source, use="test") for source in sources)
        for sources in (run.data.clean, run.data.noise)
    )
    pinned = dataclasses.replace(run.data, clean=clean, noise=noise)
    write_run(dataclasses.replace(run, data=pinned), tmp_path / "other.yaml")
    assert evaluate_folder(trained, tmp_path / "other.yaml", tmp_path / "out", "test", 1, quiet())
    assert evaluate_parts(trained, "recording", tmp_path / "other.yaml", tmp_path / "by", "test", 1, quiet())
    with pytest.raises(DataError, match="validation has no clean"):
        evaluate_folder(trained, tmp_path / "other.yaml", tmp_path / "out", "validation", 1, quiet())


def test_an_evaluation_prints_the_notes_on_the_recordings_also_by_parts(
    run: RunConfig, trained: Path, tmp_path: Path, quiet: Quiet, said: Callable[[Console], str]
) -> None:
    elsewhere = dataclasses.replace(run.data, base="/not/here")
    write_run(dataclasses.replace(run, data=elsewhere), tmp_path / "other.yaml")
    whole, parts = quiet(), quiet()
    evaluate_folder(trained, tmp_path / "other.yaml", tmp_path / "a", "test", 1, whole)
    evaluate_parts(trained, "speed", tmp_path / "other.yaml", tmp_path / "b", "test", 1, parts)
    for console in (whole, parts):
        assert "note: the folder of the study, /not/here, is not here" in " ".join(said(console).split())


@pytest.mark.parametrize("by", [None, "speed"])
def test_a_channel_of_the_model_that_other_recordings_lack_is_named_with_where_to_list_theirs(
    run: RunConfig, trained: Path, tmp_path: Path, quiet: Quiet, by: str | None
) -> None:
    seat = [
        tuple(dataclasses.replace(source, channels=("seat",)) for source in sources)
        for sources in (run.data.clean, run.data.noise)
    ]
    shutil.copytree(trained, tmp_path / "named")
    named = dataclasses.replace(run, data=dataclasses.replace(run.data, clean=seat[0], noise=seat[1]))
    write_run(named, tmp_path / "named" / "run.yaml")
    other = tmp_path / "other.yaml"
    write_run(run, other)
    with pytest.raises(DataError, match=r"no channel 'seat'.*list the channels of these recordings there"):
        if by is None:
            evaluate_folder(tmp_path / "named", other, tmp_path / "out", "test", 1, quiet())
        else:
            evaluate_parts(tmp_path / "named", by, other, tmp_path / "out", "test", 1, quiet())


def test_evaluation_on_longer_windows(run: RunConfig, trained: Path, tmp_path: Path, quiet: Quiet) -> None:
    """`--window-s` is the data section with other windows: same rows, to the digit, and a showcase as long."""
    longer = dataclasses.replace(run.data, window_samples=round(5 * run.data.rate_hz))
    write_run(dataclasses.replace(run, data=longer), tmp_path / "longer.yaml")
    stated = evaluate_folder(trained, tmp_path / "longer.yaml", tmp_path / "a", "test", 1, quiet())
    asked = evaluate_folder(trained, None, tmp_path / "b", "test", 1, quiet(), window_s=5.0)
    as_trained = evaluate_folder(trained, None, tmp_path / "c", "test", 1, quiet())
    assert rows_document(asked) == rows_document(stated) != rows_document(as_trained)
    assert (tmp_path / "b" / "estimate.wav").stat().st_size > 5 * run.data.rate_hz * 2


@pytest.mark.parametrize("window_s", [0.0, -3.0, 0.5, float("nan"), float("inf")])
def test_evaluation_refuses_windows_that_hold_no_beat(
    trained: Path, tmp_path: Path, quiet: Quiet, window_s: float
) -> None:
    with pytest.raises(ConfigError, match=f"window_s is {window_s:g}; at least 1 s is needed"):
        evaluate_folder(trained, None, tmp_path / "out", "test", 1, quiet(), window_s=window_s)
    assert not (tmp_path / "out").exists()


def test_evaluation_refuses_windows_longer_than_a_recording(trained: Path, tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(DataError, match="is shorter than one window"):
        evaluate_folder(trained, None, tmp_path / "out", "test", 1, quiet(), window_s=3600.0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"rate_hz": 500.0}, "rate_hz is 500.0, but the model was trained at 250.0"),
        ({"band_hz": None}, r"band_hz is None, but the model was trained at \(25.0, 55.0\)"),
    ],
)
def test_evaluation_on_data_of_another_kind_is_refused(
    run: RunConfig, trained: Path, tmp_path: Path, change: dict[str, Any], rule: str, quiet: Quiet
) -> None:
    """A model fed signals of another rate scores badly in silence."""
    write_run(dataclasses.replace(run, data=dataclasses.replace(run.data, **change)), tmp_path / "other.yaml")
    with pytest.raises(ConfigError, match=rule):
        evaluate_folder(trained, tmp_path / "other.yaml", tmp_path / "out", "test", 1, quiet())
    assert not (tmp_path / "out").exists()


def test_evaluation_refuses_what_is_no_run_no_split_no_data(trained: Path, tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(ConfigError, match="not a run's folder"):
        evaluate_folder(tmp_path, None, tmp_path / "out", "test", 1, quiet())
    with pytest.raises(ConfigError, match="--split is 'train'; test or validation"):
        evaluate_folder(trained, None, tmp_path / "out", "train", 1, quiet())
    (tmp_path / "a.yaml").write_text("x: 1\n")
    with pytest.raises(ConfigError, match="has no section 'data'"):
        evaluate_folder(trained, tmp_path / "a.yaml", tmp_path / "out", "test", 1, quiet())


def test_weights_of_another_config_are_refused(trained: Path, tmp_path: Path, quiet: Quiet) -> None:
    save_weights(DENOISERS["autoencoder"](levels=3, width=8).build(1), trained / WEIGHTS)  # type: ignore[call-arg]
    with pytest.raises(CheckpointError, match="does not fit the config"):
        evaluate_folder(trained, None, tmp_path / "out", "test", 1, quiet())
