"""`import drivebeat`: recordings, arrays and trained models in a notebook or a script."""

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import drivebeat as api
from data.config import DataConfig
from data.filters import bandpass
from data.readers.read import read
from data.recording import Recording
from models.autoencoder import AutoencoderConfig
from objectives.losses import NegSiSdrConfig
from search.errors import CheckpointError, ConfigError, DataError
from search.python.denoiser import Denoiser
from tests.support.program import ROOT, environment
from training.config import FitConfig, RunConfig, to_document, write_run
from training.decode import decode

HEAVY = {"torch", "optuna", "sqlalchemy", "matplotlib", "scipy", "numpy", "pandas", "sklearn", "plotly"}
RATE_HZ = 1000.0


def python(program: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def loaded_by(statements: str) -> set[str]:
    """The packages that a Python of its own has imported after `statements`."""
    done = python(f"import json, sys\n{statements}\nprint(json.dumps([n.partition('.')[0] for n in sys.modules]))")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_import_brings_none_of_the_heavy_libraries_and_reading_no_torch() -> None:
    assert loaded_by("import drivebeat; drivebeat.errors, drivebeat.__version__, dir(drivebeat)") & HEAVY == set()
    assert loaded_by("import drivebeat; drivebeat.read, drivebeat.in_band, drivebeat.Recording") & {"torch"} == set()


def test_every_name_of_the_interface_is_there_and_declared_for_type_checkers() -> None:
    tree = ast.parse((ROOT / "drivebeat.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.body[0], ast.ImportFrom))
    declared = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    named = {name: home for home, names in api.INTERFACE.items() for name in names}
    assert declared == {**named, "errors": "search"}
    for name in named:
        assert (getattr(api, name).__doc__ or "").count(".") >= 1, name
    assert set(dir(api)) == {*named, "__version__"}
    with pytest.raises(AttributeError, match="'drivebeat' has no attribute 'lode'"):
        api.lode  # type: ignore[attr-defined]  # noqa: B018


def trained(folder: Path, data: dict[str, Any]) -> Path:
    """Train a small model for one epoch; return its folder."""
    fit = FitConfig(epochs=1, batch_size=4, steps_per_epoch=2, threads=1)
    run = RunConfig(decode(DataConfig, data, "data"), AutoencoderConfig(levels=2, width=4), NegSiSdrConfig(), fit=fit)
    write_run(run, folder / "config.yaml")
    api.train(folder / "config.yaml", folder / "run", quiet=True)
    return folder / "run"


@pytest.fixture(scope="session")
def one_channel(tmp_path_factory: pytest.TempPathFactory, data_section: dict[str, Any]) -> Path:
    """A run on recordings whose channels have no names."""
    return trained(tmp_path_factory.mktemp("one"), data_section)


@pytest.fixture(scope="session")
def drives(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Path:
    """The same recordings as .npz with the channels belt, seat and roof, in another order than a model takes them."""
    folder = tmp_path_factory.mktemp("named")
    for path in (*recordings.rglob("stop.wav"), *recordings.rglob("60km.wav")):
        signals = read(path).signals[[1, 0, 2]]
        np.savez(folder / f"{path.stem}.npz", signals=signals, rate_hz=RATE_HZ, channels=["belt", "seat", "roof"])
    return folder


@pytest.fixture(scope="session")
def two_channels(tmp_path_factory: pytest.TempPathFactory, data_section: dict[str, Any], drives: Path) -> Path:
    """A run that cleans the seat with the belt as reference."""
    sides = {
        side: [{"files": [str(drives / name)], "channels": ["seat", "belt"]}]
        for side, name in (("clean", "stop.npz"), ("noise", "60km.npz"))
    }
    return trained(tmp_path_factory.mktemp("two"), {**data_section, **sides})


@pytest.fixture
def model(two_channels: Path) -> Denoiser:
    return api.load(two_channels)


def applied(drivebeat: Callable[..., Any], run: Path, recording: Path, *options: str) -> Recording:
    """What `drivebeat apply` writes."""
    done = drivebeat("apply", str(run), str(recording), "-o", "estimate.npz", *options)
    assert done.code == 0, done.err
    return read(Path("estimate.npz"))


def test_an_estimate_is_that_of_the_command_to_the_last_bit(
    model: Denoiser, two_channels: Path, drives: Path, drivebeat: Callable[..., Any]
) -> None:
    """Of a path, a Recording and an array; the channels are found by their names."""
    path = drives / "60km.npz"
    wanted = applied(drivebeat, two_channels, path)
    whole = api.read(path)
    for estimate in (model.denoise(path), model.denoise(str(path)), model.denoise(whole)):
        np.testing.assert_array_equal(estimate.signals, wanted.signals)
        assert (estimate.rate_hz, estimate.channels) == (wanted.rate_hz, wanted.channels) == (RATE_HZ, ("estimate",))
    rows = whole.signals[[whole.channels.index(name) for name in model.channels]]
    for numbers in (rows, rows.astype(np.float64), np.asfortranarray(rows), pd.DataFrame(rows)):
        samples = model.denoise(numbers, RATE_HZ)
        np.testing.assert_array_equal(samples, wanted.signals[0])
        assert samples.dtype == np.float32
        assert samples.shape == rows.shape[1:]


def test_a_model_without_names_takes_the_first_channel(
    one_channel: Path, recordings: Path, drivebeat: Callable[..., Any]
) -> None:
    (path,) = recordings.rglob("60km.wav")
    wanted, model = applied(drivebeat, one_channel, path, "--window-s", "4"), api.load(str(one_channel), device="cpu")
    np.testing.assert_array_equal(model.denoise(path, window_s=4).signals, wanted.signals)
    row = read(path).signals[0]
    for numbers in (row, row[None], row.tolist(), [row.tolist()]):
        np.testing.assert_array_equal(model.denoise(numbers, rate_hz=RATE_HZ, window_s=4), wanted.signals[0])


def test_other_channels_are_taken_where_they_are_named(
    model: Denoiser, two_channels: Path, drives: Path, drivebeat: Callable[..., Any]
) -> None:
    path = drives / "60km.npz"
    wanted = applied(drivebeat, two_channels, path, "--channels", "roof,seat")
    for x, channels in ((path, ["roof", "seat"]), (api.read(path), ("roof", "seat")), (api.read(path), [2, 1])):
        np.testing.assert_array_equal(model.denoise(x, channels=channels).signals, wanted.signals)


def test_the_weights_are_read_once_and_no_call_changes_the_next(
    two_channels: Path, drives: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(two_channels, tmp_path / "run")
    model = api.load(folder)
    shutil.rmtree(folder)
    first, other = (model.denoise(drives / name).signals for name in ("60km.npz", "stop.npz"))
    np.testing.assert_array_equal(model.denoise(drives / "60km.npz").signals, first)
    np.testing.assert_array_equal(model.denoise(drives / "stop.npz").signals, other)
    with pytest.raises(AttributeError):
        model.config = None  # type: ignore[misc,assignment]


def test_a_model_tells_its_channels_rate_and_band(model: Denoiser, one_channel: Path) -> None:
    assert (model.channels, model.rate_hz, model.band_hz) == (("seat", "belt"), 250.0, (25.0, 55.0))
    assert model.config.model == AutoencoderConfig(levels=2, width=4)
    assert repr(model).endswith("autoencoder, cleaning channel seat; references: belt; 250 Hz, 25-55 Hz, on cpu)")
    assert api.load(one_channel).channels == ("ch1",)


NOISE = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
GAP = NOISE.copy()
GAP[1, 17] = np.nan


@pytest.mark.parametrize(
    ("x", "rate_hz", "error", "words"),
    [
        (NOISE, None, DataError, "array: has no rate of its own; give rate_hz="),
        (
            NOISE[0],
            1000.0,
            ConfigError,
            r"array: has shape (4000,), so 1 channel [channel, time]; the model needs 2: seat",
        ),
        (NOISE.T, 1000.0, ConfigError, "seat, belt; give its transpose"),
        (NOISE[[0, 1, 0]], 1000.0, ConfigError, "so 3 channels"),
        (NOISE[None], 1000.0, DataError, "array: has shape (1, 2, 4000); [time] or [channel, time] is needed"),
        (1.0, 1000.0, DataError, "has shape ()"),
        ([[1.0, 2.0], [3.0]], 1000.0, DataError, "array: cannot be used"),
        (NOISE.astype(np.complex64), 1000.0, DataError, "array: holds complex64; real numbers are needed"),
        ([["a", "b"], ["c", "d"]], 1000.0, DataError, "real numbers are needed"),
        (NOISE > 0, 1000.0, DataError, "array: holds bool; real numbers are needed"),
        (np.ma.masked_greater(NOISE, 2.0), 1000.0, DataError, "array: has masked samples"),
        (GAP, 1000.0, DataError, "array: channel belt: 1 of 4000 samples are NaN or infinite, the first at 17"),
        (NOISE[:, :30], 1000.0, DataError, "array: 0.0300 s cannot be conditioned"),
        (NOISE[:, :1], 1000.0, DataError, "array: empty signal"),
        (NOISE * [[1], [0]], 1000.0, DataError, "array: channel belt: constant"),
        (NOISE, 100.0, DataError, "array: recorded at 100 Hz; the band up to 55 Hz needs at least 110 Hz"),
        (NOISE, 0.0, DataError, "array: rate is 0.0 Hz"),
        (NOISE, "fast", DataError, "array: cannot be used"),
    ],
)
def test_numbers_that_cannot_be_denoised_are_refused_with_what_to_do(
    model: Denoiser, x: Any, rate_hz: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as raised:
        model.denoise(x, rate_hz)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_recordings_that_do_not_fit_the_model_are_refused_by_name(model: Denoiser, drives: Path) -> None:
    whole = api.read(drives / "60km.npz")
    other = Recording(NOISE, 1000.0, ("left", "right"), Path("other.npz"))
    for x, options, error, words in (
        (other, {}, ConfigError, "other.npz: has the channels left, right; the model was trained on seat with belt"),
        (whole, {"channels": ["seat"]}, ConfigError, "1 channel (seat), the model needs 2"),
        (whole, {"channels": ["seat", "blet"]}, DataError, "no channel 'blet' (did you mean 'belt'?)"),
        (whole, {"rate_hz": 500.0}, DataError, "rate_hz=500, but the recording has 1000 Hz; leave rate_hz out"),
        (whole, {"window_s": 0.5}, ConfigError, "window_s is 0.5; at least the 2.048 s of training are needed"),
        (drives / "none.npz", {}, DataError, "none.npz: no such file"),
        (NOISE, {"rate_hz": 1000.0, "channels": ["seat", "belt"]}, ConfigError, "leave channels out"),
    ):
        with pytest.raises(error) as raised:
            model.denoise(x, **options)
        assert words in str(raised.value)


def test_what_cannot_be_loaded_is_refused_by_name(one_channel: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: not a run's folder"):
        api.load(tmp_path / "none")
    for options, words in (({"device": "gpu"}, "device is 'gpu'"), ({"threads": 0}, "threads is 0; at least 1")):
        with pytest.raises(ConfigError, match=words):
            api.load(one_channel, **options)
    folder = shutil.copytree(one_channel, tmp_path / "run")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no such weights file"):
        api.load(folder)


def test_a_recording_is_read_whole_or_by_channels_and_variables(drives: Path, tmp_path: Path) -> None:
    path = drives / "60km.npz"
    assert api.read(str(path)).channels == ("belt", "seat", "roof")
    for channels, got in ((["roof", "belt"], ("roof", "belt")), ("seat", ("seat",)), ([0], ("belt",))):
        assert api.read(path, channels=channels).channels == got
    np.savez(tmp_path / "x.npz", left=NOISE[0], right=NOISE[1], ecg=NOISE[1, :1000], fs=1000.0, ecg_fs=250.0)
    several = api.read(tmp_path / "x.npz", variables=["left", "right"])
    assert (several.channels, several.rate_hz, several.ecg_rate_hz) == (("left", "right"), 1000.0, 250.0)
    assert api.read(tmp_path / "x.npz", variable="right").channels == ("ch1",)
    np.savez(tmp_path / "gap.npz", signals=GAP)
    assert api.read(tmp_path / "gap.npz", rate_hz=500.0, gaps="fill").signals.shape == NOISE.shape
    assert api.read(tmp_path / "gap.npz", rate_hz=500.0).signals.shape == (2, 3999)
    with pytest.raises(DataError, match="no sampling rate in the file"):
        api.read(tmp_path / "gap.npz")


def test_a_recording_is_filtered_to_the_band_and_made_audible_with_its_beats_at_their_times() -> None:
    """A burst of 40 Hz at 1 s and one at 3 s, on the second channel."""
    time_s = np.arange(4000) / 1000.0
    burst = sum(np.exp(-(((time_s - at_s) / 0.05) ** 2)) for at_s in (1.0, 3.0)) * np.sin(2 * np.pi * 40 * time_s)
    recording = Recording(np.stack([NOISE[0], burst]).astype(np.float32), 1000.0, ("a", "b"), Path("x.npz"))
    filtered = api.in_band(recording)
    np.testing.assert_array_equal(filtered.signals, bandpass(recording.signals, 1000.0, 25.0, 55.0))
    samples, rate_hz = api.audible(recording, "b")
    assert (samples.shape, str(samples.dtype), rate_hz) == ((32000,), "float32", 8000)
    assert np.abs(samples).max() == pytest.approx(0.9)
    for at_s in (1.0, 3.0):
        around = np.abs(samples[round((at_s - 0.5) * rate_hz) : round((at_s + 0.5) * rate_hz)])
        assert abs(around.argmax() / rate_hz - 0.5) < 0.03
    near_1_s = samples[4000:12000] * np.hanning(8000)
    assert abs(np.abs(np.fft.rfft(near_1_s)).argmax() - 240) <= 2
    np.testing.assert_array_equal(api.audible(recording, 1)[0], samples)
    with pytest.raises(DataError, match="no channel 'c'"):
        api.audible(recording, "c")


def test_a_run_trained_from_python_has_the_weights_of_the_command_and_resumes(
    one_channel: Path, drivebeat: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drivebeat("train", str(one_channel.parent / "config.yaml"), "-o", "cli", "--epochs", "2").code == 0
    config = one_channel.parent / "config.yaml"
    document = {**to_document(api.load(one_channel).config)}
    for name, given in (("path", config), ("document", document), ("run", api.load(one_channel).config)):
        model = api.train(given, name, epochs=2)
        assert isinstance(model, Denoiser)
        assert "epoch 2/2" in capsys.readouterr().out
        for file in ("weights.safetensors", "run.yaml"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "cli" / file).read_bytes()
    with pytest.raises(ConfigError, match="holds another run"):
        api.train(config, "path", epochs=1)
    with pytest.raises(ConfigError, match="schema_version is missing"):
        api.train({}, "none")
    assert not (tmp_path / "none").exists()


def test_a_relative_base_starts_from_the_working_directory(
    one_channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from the folder of run.yaml, where `evaluate` reads it."""
    monkeypatch.chdir(tmp_path)
    run = api.load(one_channel).config
    document = to_document(run)
    document["data"]["base"] = "."
    given = dataclasses.replace(run, data=dataclasses.replace(run.data, base="."))
    for name, config in (("document", document), ("run", given)):
        assert api.train(config, name, quiet=True).config.data.base == str(tmp_path)


def test_an_interrupted_training_says_how_to_go_on(one_channel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.commands.train.train_all", interrupted)
    with pytest.raises(KeyboardInterrupt, match="runs/x: the same call continues it after its last finished epoch"):
        api.train(one_channel.parent / "config.yaml", "runs/x")


def test_an_evaluation_is_the_table_of_the_command(
    one_channel: Path, drivebeat: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drivebeat("evaluate", str(one_channel), "-o", "cli", "--quiet", "--threads", "1").code == 0
    rows = api.evaluate(one_channel, output="api", threads=1, quiet=True)
    assert capsys.readouterr().out == ""
    written = [pd.read_csv(tmp_path / name / "table.csv") for name in ("cli", "api")]
    pd.testing.assert_frame_equal(*written)
    assert list(rows.columns) == list(written[0].columns)
    assert {"autoencoder", "zeros", "identity"} <= set(rows["method"])
    pd.testing.assert_frame_equal(rows.round(4), written[0], check_dtype=False, atol=1e-4)
    with pytest.raises(ConfigError, match="test or validation is needed"):
        api.evaluate(one_channel, split="train")
