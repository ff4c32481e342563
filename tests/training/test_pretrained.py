"""The models that come with Drivebeat: whole, small, described, and trained on nothing that may not be passed on."""

import dataclasses
import hashlib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from scripts.sample import NAME, SAMPLE, sample
from training.checkpoint import WEIGHTS
from training.config import RUN_FILE, InitConfig, RunConfig, read_run, to_document
from training.denoising.denoise import load_denoiser
from training.errors import ConfigError
from training.lineage import resolve_init
from training.pretrained import CARD, PRETRAINED, Pretrained, is_pretrained, pretrained, run_folder
from training.runs import evaluation_folder

MODELS = pytest.mark.parametrize("model", pretrained(), ids=lambda model: model.name)
# Weights trained on these may be passed on: generated recordings, ODC-BY, MIT.
MAY_TRAIN = (
    "data/generated/*",
    "data/recordings/realdata2/microphone/*cinc2016-*",
    "data/recordings/realdata2/accelerometer/*mscardio-*",
    "../shared/realdata/heart_ecg/springer/*",
    "../shared/realdata/heart_ecg/radar2pcg/*",
)
HEADINGS = ("## Data", "## Scores", "## Limits", "## Train it again")


def test_there_is_a_default() -> None:
    assert pretrained()[0].reference == PRETRAINED


@MODELS
def test_a_model_is_small_and_calibrated(model: Pretrained) -> None:
    assert sum(path.stat().st_size for path in model.folder.iterdir()) < 10e6
    assert load_denoiser(model.folder).calibration.described.startswith("a heart rate is sure from")
    assert "default" not in load_denoiser(model.folder).calibration.described


@MODELS
def test_a_card_has_its_parts_and_names_the_weights(model: Pretrained) -> None:
    card = (model.folder / CARD).read_text(encoding="utf-8")
    assert [heading for heading in HEADINGS if heading not in card] == []
    assert hashlib.sha256((model.folder / WEIGHTS).read_bytes()).hexdigest() in card
    assert 20 < len(model.summary) < 200


@MODELS
def test_no_recording_that_may_not_train_passed_weights_has_trained_a_model(model: Pretrained) -> None:
    data = read_run(model.folder / RUN_FILE).data
    trained = [file for source in (*data.clean, *data.noise) if source.use == "train" for file in source.files]
    assert len(trained) > 3
    assert [file for file in trained if not any(fnmatch(file, allowed) for allowed in MAY_TRAIN)] == []


@MODELS
def test_a_run_that_starts_from_a_model_names_it_as_on_any_machine(
    model: Pretrained, make_run: Callable[..., RunConfig]
) -> None:
    run = resolve_init(dataclasses.replace(make_run(), init=InitConfig(weights=model.reference)))
    assert run.init.weights == model.reference
    assert run.init.sha256 == hashlib.sha256((model.folder / WEIGHTS).read_bytes()).hexdigest()
    assert str(model.folder) not in str(to_document(run))


def test_names_are_those_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    default = pretrained()[0]
    assert run_folder(Path("pretrained")) == run_folder(Path(f"pretrained/{default.name}")) == default.folder
    assert run_folder(Path("runs/pretrained")) == Path("runs/pretrained")
    with pytest.raises(ConfigError, match=f"pretrained/no-such: no folder, and no pretrained model.*{default.name}"):
        run_folder(Path("pretrained/no-such"))


def test_a_run_in_a_folder_of_the_same_name_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained").mkdir()
    assert run_folder(Path("pretrained")) == pretrained()[0].folder
    (tmp_path / "pretrained" / RUN_FILE).write_text("")
    assert run_folder(Path("pretrained")) == Path("pretrained")


def test_an_evaluation_does_not_write_beside_the_weights() -> None:
    default = pretrained()[0]
    assert is_pretrained(default.folder)
    assert evaluation_folder(default.folder, None) == Path(f"pretrained-{default.name}-evaluation")
    assert evaluation_folder(Path("runs/a"), None) == Path("runs/a/evaluation")


def test_the_sample_is_that_of_its_script() -> None:
    """Within a step of 16 bits: another processor's FFT may round the other way."""
    rate_hz, samples = wavfile.read(SAMPLE / NAME)
    assert rate_hz == 250
    assert np.abs(samples.astype(int) - sample().astype(int)).max() <= 1
