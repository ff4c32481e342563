"""Runs that start from other runs' weights: what is loaded, what is refused, what the config tells."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from data.config import HeldOutConfig
from data.corpus import Corpus, load
from models.autoencoder import AutoencoderConfig
from models.beats import BeatsConfig
from models.front import FrontConfig
from training.checkpoint import load_checkpoint, save_weights
from training.config import Ancestor, InitConfig, RunConfig, from_document, read_run, to_document, write_run
from training.errors import CheckpointError, ConfigError
from training.learner import build_learner
from training.lineage import config_sha256, start_from
from training.plugins.plugin import plugin_of
from training.runs import train_to_folder
from training.trainer import CHECKPOINT, WEIGHTS, train

MakeRun = Callable[..., RunConfig]
Quiet = Callable[[], Console]
Said = Callable[[Console], str]
CPU = torch.device("cpu")


@pytest.fixture
def parent(make_run: MakeRun, tmp_path: Path, quiet: Quiet) -> Path:
    """The folder of a tiny run, trained."""
    folder = tmp_path / "runs" / "a"
    train_to_folder(make_run(), folder, {}, [], quiet())
    return folder


def test_a_run_begins_with_the_weights_it_names(make_run: MakeRun, parent: Path, corpus: Corpus) -> None:
    run = start_from(make_run(seed=7), parent, partial=False)
    begun = build_learner(run, run.build_model(1), CPU, starts_anew=True).model.state_dict()
    kept = load_file(parent / WEIGHTS)
    assert all(torch.equal(begun[name], kept[name]) for name in kept)


def test_the_moving_average_begins_there_too(make_run: MakeRun, parent: Path) -> None:
    run = start_from(make_run(seed=7, ema_decay=0.9), parent, partial=False)
    learner = build_learner(run, run.build_model(1), CPU, starts_anew=True)
    assert learner.averaged is not None
    kept = load_file(parent / WEIGHTS)
    assert all(torch.equal(learner.averaged.state_dict()[name], kept[name]) for name in kept)


def test_a_chain_tells_its_whole_ancestry(
    make_run: MakeRun, parent: Path, corpus: Corpus, tmp_path: Path, quiet: Quiet
) -> None:
    """a -> b -> c: c's own document names both, with what was trained, on what, how well, and which weights."""
    b = start_from(make_run(seed=1), parent, partial=False)
    train_to_folder(b, tmp_path / "runs" / "b", {}, [], quiet())
    c = start_from(make_run(seed=2), tmp_path / "runs" / "b", partial=False)
    train_to_folder(c, tmp_path / "runs" / "c", {}, [], quiet())

    init = read_run(tmp_path / "runs" / "c" / "run.yaml").init
    assert init.sha256 == hashlib.sha256((tmp_path / "runs" / "b" / WEIGHTS).read_bytes()).hexdigest()
    oldest, last = init.lineage
    assert (oldest,) == b.init.lineage
    assert oldest.weights_sha256 == hashlib.sha256((parent / WEIGHTS).read_bytes()).hexdigest()
    assert [a.config_sha256 for a in init.lineage] == [config_sha256(run) for run in (make_run(), b)]
    assert {a.data_fingerprint for a in init.lineage} == {corpus.fingerprint}
    reports = json.loads(load_checkpoint(tmp_path / "runs" / "b" / CHECKPOINT, CPU)["reports"])
    assert (last.score, last.best_score) == ("si_sdr_db", reports[-1]["best_score"])


def test_an_ancestor_whose_plugin_is_not_trusted_has_the_same_sum(
    make_run: MakeRun, parent: Path, tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its recordings lie."""
    run = dataclasses.replace(make_run(), plugins=(plugin_of("one.py", "x = 1\n"),))
    for base in (None, str(tmp_path)):
        located = dataclasses.replace(run, data=dataclasses.replace(run.data, base=base))
        write_run(located, parent / "run.yaml", {"study": "s"})
        (ancestor,) = start_from(make_run(), parent, partial=False).init.lineage
        assert (ancestor.config_sha256, ancestor.score) == (config_sha256(run), "si_sdr_db")


def test_a_resolved_run_survives_its_document(make_run: MakeRun, parent: Path, tmp_path: Path) -> None:
    run = start_from(make_run(), parent, partial=True)
    write_run(run, tmp_path / "run.yaml")
    assert read_run(tmp_path / "run.yaml") == run


def test_a_run_without_such_weights_has_the_document_of_old(run: RunConfig) -> None:
    document = to_document(run)
    assert "init" not in document
    assert from_document(document, "here").init == InitConfig()


def test_changed_weights_are_refused(
    make_run: MakeRun, parent: Path, corpus: Corpus, tmp_path: Path, quiet: Quiet
) -> None:
    run = start_from(make_run(), parent, partial=False)
    save_weights(run.model.build(1), parent / WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"is not the file that the run was made with \(SHA-256 [0-9a-f]{16}"
    ) as got:
        next(train(run, corpus, tmp_path / "b"))
    assert "\n" not in str(got.value)
    with pytest.raises(CheckpointError, match="is not the file"):
        train_to_folder(run, tmp_path / "b", {}, [], quiet())
    assert not (tmp_path / "b").exists()


def test_a_run_under_way_no_longer_needs_the_weights_it_began_with(
    make_run: MakeRun, parent: Path, corpus: Corpus, tmp_path: Path
) -> None:
    """All is in its checkpoint: resumed without them it comes to the same."""
    run = start_from(make_run(seed=1), parent, partial=False)
    whole = [dataclasses.replace(r, seconds=0.0) for r in train(run, corpus, tmp_path / "whole")]
    next(train(run, corpus, tmp_path / "cut"))
    (parent / WEIGHTS).unlink()
    assert [dataclasses.replace(r, seconds=0.0) for r in train(run, corpus, tmp_path / "cut")] == whole


def test_weights_of_another_model_are_refused_by_the_first_tensor(
    make_run: MakeRun, parent: Path, tmp_path: Path, quiet: Quiet
) -> None:
    wider = make_run(model=AutoencoderConfig(levels=2, width=8, kernel=5, norm="batch"))
    run = start_from(wider, parent, partial=False)
    with pytest.raises(
        CheckpointError, match=r"down.0.0.conv.weight has shape \(4, 1, 5\), the config builds \(8, 1, 5\); --partial"
    ):
        train_to_folder(run, tmp_path / "b", {}, [], quiet())
    assert not (tmp_path / "b").exists()


def test_partial_takes_what_fits_and_says_how_many(
    make_run: MakeRun, parent: Path, tmp_path: Path, quiet: Quiet, said: Said
) -> None:
    """Pretrained on one channel, then with a reference: only the layer that sees the channels begins anew."""
    source = dataclasses.replace(make_run().data.noise[0], channels=("z", "x"))
    data = dataclasses.replace(make_run().data, noise=(source,), validation=HeldOutConfig(2, (0.0,)))
    run = start_from(make_run(data=data, epochs=1), parent, partial=True)
    begun = build_learner(run, run.build_model(2), CPU, starts_anew=True).model.state_dict()
    kept = load_file(parent / WEIGHTS)
    fitting = [name for name in kept if begun[name].shape == kept[name].shape]
    assert 0 < len(fitting) < len(kept)
    assert all(torch.equal(begun[name], kept[name]) for name in fitting)
    console = quiet()
    train_to_folder(run, tmp_path / "b", {}, [], console)
    assert f"{len(fitting)} of {len(kept)} tensors" in said(console)
    assert load(data).n_channels == 2


@pytest.mark.parametrize("passes", [1, 2])
def test_partial_finds_the_denoiser_within_a_run_with_more_parts(
    make_run: MakeRun, parent: Path, tmp_path: Path, passes: int
) -> None:
    """Trained alone, then behind filters and beside the network for beats; and back."""
    more = dataclasses.replace(
        make_run(),
        front=FrontConfig(filter_taps=9),
        beats=BeatsConfig(beats_weight=1.0, beats_passes=passes, beats_width=32, beats_layers=1),
    )
    kept = load_file(parent / WEIGHTS)
    model = start_from(more, parent, partial=True)
    begun = build_learner(model, model.build_model(2), CPU, starts_anew=True).model.state_dict()
    same = [name for name in kept if torch.equal(begun[f"denoiser.net.{name}"], kept[name])]
    assert set(kept) - set(same) == {"down.0.0.conv.weight"}  # the layer that sees the channels
    save_weights(model.build_model(2), tmp_path / "more.safetensors")
    back = start_from(make_run(), tmp_path / "more.safetensors", partial=True)
    again = build_learner(back, back.build_model(1), CPU, starts_anew=True).model.state_dict()
    held = load_file(tmp_path / "more.safetensors")
    assert torch.equal(again["down.0.0.conv.bias"], held["denoiser.net.down.0.0.conv.bias"])


def test_weights_of_which_nothing_fits_are_refused_even_in_part(make_run: MakeRun, tmp_path: Path) -> None:
    save_weights(torch.nn.Linear(1, 1), tmp_path / "w.safetensors")
    run = start_from(make_run(), tmp_path / "w.safetensors", partial=True)
    with pytest.raises(CheckpointError, match="none of its tensors fits"):
        build_learner(run, run.build_model(1), CPU, starts_anew=True)


def test_a_bare_weights_file_has_no_more_than_its_own_sum(make_run: MakeRun, tmp_path: Path) -> None:
    path = tmp_path / "lab.pth"
    save_weights(make_run().model.build(1), path)
    run = start_from(make_run(), path, partial=False)
    assert run.init.lineage == (Ancestor(hashlib.sha256(path.read_bytes()).hexdigest()),)
    build_learner(run, run.build_model(1), CPU, starts_anew=True)


def test_a_hand_written_run_that_names_weights_gets_their_sum_and_lineage(
    make_run: MakeRun, parent: Path, tmp_path: Path, quiet: Quiet
) -> None:
    run = dataclasses.replace(make_run(seed=3), init=InitConfig(weights=str(parent)))
    train_to_folder(run, tmp_path / "b", {}, [], quiet())
    assert read_run(tmp_path / "b" / "run.yaml") == start_from(make_run(seed=3), parent, partial=False)
    train_to_folder(run, tmp_path / "b", {}, [], quiet())  # the same document again goes on, with nothing left to do


def test_no_weights_to_start_from_is_said_in_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        start_from(make_run(), tmp_path / "none", partial=False)
    with pytest.raises(ConfigError, match="sha256, partial and lineage go with weights"):
        from_document({**to_document(make_run()), "init": {"partial": True}}, "a.yaml")
