"""Whole recordings through a trained run: found, denoised with one model, written with their beats."""

import csv
import dataclasses
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from rich.console import Console
from scipy.io import savemat
from torch import Tensor, nn

from data.config import MEASURED_HZ, AugmentConfig
from data.errors import DataError
from data.readers.arrays.npz import write_npz
from data.readers.read import read
from data.recording import Recording
from models import DENOISERS
from training.apply import conditioned
from training.checkpoint import save_weights
from training.config import RunConfig, write_run
from training.denoising.batch import Failure, denoise_each
from training.denoising.beats import beats_of
from training.denoising.denoise import Denoiser, denoise, load_denoiser, read_recording
from training.denoising.picture import draw_estimate
from training.denoising.process import Applied, process
from training.denoising.recordings import Extras, plan
from training.errors import CheckpointError, ConfigError, TrainingFailed
from training.evaluation.showcase import PIECE_S, SOUND_RATE_HZ, audible
from training.sounds import heart_trace
from training.trainer import WEIGHTS

MakeRun = Callable[..., RunConfig]
Heartbeat = Callable[..., Recording]


@pytest.fixture
def folder(make_run: MakeRun, tmp_path: Path) -> Path:
    """The folder of a run whose model changes nothing, so that the beats of an estimate are known."""
    return saved(make_run(model=DENOISERS["identity"]()), tmp_path / "identity")


@pytest.fixture
def denoiser(folder: Path) -> Denoiser:
    return load_denoiser(folder, "cpu")


def saved(run: RunConfig, folder: Path) -> Path:
    """Write a run with weights that were never trained."""
    write_run(run, folder / "run.yaml")
    save_weights(run.build_model(run.data.n_channels), folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0])
def test_an_estimate_is_a_recording_like_the_one_it_is_of(
    make_run: MakeRun, heart: Heartbeat, tmp_path: Path, rate_hz: float
) -> None:
    denoiser = load_denoiser(saved(make_run(), tmp_path / "run"), "cpu")
    recording = dataclasses.replace(heart(3, tmp_path / "in.npz", seconds=9.3, rate_hz=rate_hz), notes=("a note",))
    estimate = denoise(denoiser, recording)
    assert estimate.signals.shape == recording.signals.shape
    assert (estimate.channels, estimate.rate_hz, estimate.source) == (("estimate",), rate_hz, recording.source)
    assert estimate.notes == ("a note",)
    assert estimate.r_peaks_s is recording.r_peaks_s


def test_variables_with_the_names_of_the_models_channels_are_its_channels(run: RunConfig, tmp_path: Path) -> None:
    """A file with one variable for each channel needs no option, whatever else is in it and in whatever order."""
    sources = (dataclasses.replace(run.data.noise[0], channels=(), variables=("Seat", "belt")),)
    data = dataclasses.replace(run.data, clean=sources, noise=sources)
    rows = np.random.default_rng(0).standard_normal((3, 2000)).astype(np.float32)
    path = tmp_path / "drive.mat"
    savemat(path, {"belt": rows[0], "temperature": rows[1], "seat": rows[2], "fs": 1000.0})
    recording = read_recording(data, path)
    assert (recording.channels, recording.rate_hz) == (("seat", "belt"), 1000.0)
    np.testing.assert_array_equal(recording.signals, rows[[2, 0]])
    assert read_recording(data, path, variables=("belt", "seat")).channels == ("seat", "belt")
    with pytest.raises(DataError, match="more than one variable may be the signal"):
        read_recording(dataclasses.replace(data, clean=run.data.clean, noise=run.data.clean), path)


def test_an_estimate_does_not_depend_on_what_came_before(run: RunConfig, heart: Heartbeat) -> None:
    """Also of a model that draws random numbers, as diffusion does."""

    class Drawing(nn.Module):
        def forward(self, noisy: Tensor) -> Tensor:
            return noisy[:, :1] + torch.randn_like(noisy[:, :1])

    denoiser = Denoiser(run, Drawing(), "cpu")
    one, other = heart(0, Path("a"), seconds=6.0), heart(1, Path("b"), seconds=7.0)
    alone = denoise(denoiser, other)
    denoise(denoiser, one)
    np.testing.assert_array_equal(denoise(denoiser, other).signals, alone.signals)


def test_the_channels_of_the_run_are_read_from_a_recording_with_more(
    make_run: MakeRun, heart: Heartbeat, tmp_path: Path
) -> None:
    denoiser = load_denoiser(saved(make_run(), tmp_path / "run"), "cpu")
    one = heart(3, tmp_path / "one.npz", seconds=6.0)
    more = Recording(np.stack([one.signals[0], one.signals[0][::-1]]), one.rate_hz, ("z", "x"), tmp_path / "more.npz")
    for recording in (one, more):
        write_npz(recording, recording.source)
    by_name = denoise(denoiser, read_recording(denoiser.run.data, more.source))
    np.testing.assert_array_equal(by_name.signals, denoise(denoiser, read(one.source)).signals)
    backwards = denoise(denoiser, read_recording(denoiser.run.data, more.source, channels=("x",)))
    assert not np.array_equal(backwards.signals, by_name.signals)
    with pytest.raises(ConfigError, match=r"2 channels \(z, x\), the model needs 1"):
        denoise(denoiser, more)


def test_what_cannot_be_denoised_is_refused(make_run: MakeRun, folder: Path, heart: Heartbeat, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run's folder"):
        load_denoiser(tmp_path / "gone")
    with pytest.raises(ConfigError, match="device cuda:99"):
        load_denoiser(folder, "cuda:99")
    (folder / WEIGHTS).write_bytes(b"junk")
    with pytest.raises(CheckpointError):
        load_denoiser(folder)
    source = dataclasses.replace(make_run().data.noise[0], channels=("z", "x"))
    two = load_denoiser(saved(make_run(data=dataclasses.replace(make_run().data, noise=(source,))), tmp_path / "two"))
    with pytest.raises(ConfigError, match=r"1 channel \(z\), the model needs 2"):
        denoise(two, heart(0, tmp_path / "a.npz"))


def test_a_recording_without_references_is_denoised_with_silent_ones(
    make_run: MakeRun, heart: Heartbeat, tmp_path: Path
) -> None:
    data = make_run().data
    source = dataclasses.replace(data.noise[0], channels=("z", "x"))
    data = dataclasses.replace(data, noise=(source,), augment=AugmentConfig(reference_dropout=0.3))
    denoiser = load_denoiser(saved(make_run(data=data), tmp_path / "run"), "cpu")
    alone = heart(3, tmp_path / "alone.npz", seconds=6.0)
    write_npz(alone, alone.source)
    read_alone = read_recording(denoiser.run.data, alone.source)
    assert read_alone.channels == ("z",) and "taken as silent" in read_alone.notes[-1]
    signals = conditioned(read_alone, denoiser.run.data)
    assert signals.shape[0] == 2 and not signals[1].any() and signals[0].any()
    assert np.isfinite(denoise(denoiser, read_alone).signals).all()


def test_an_estimate_that_is_not_finite_is_refused(run: RunConfig, heart: Heartbeat) -> None:
    class Broken(nn.Module):
        def forward(self, noisy: Tensor) -> Tensor:
            return noisy[:, :1] * float("nan")

    with pytest.raises(TrainingFailed, match=r"a.npz: .* samples of the model's estimate are not finite"):
        denoise(Denoiser(run, Broken(), "cpu"), heart(0, Path("a.npz"), seconds=6.0))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def applied(denoiser: Denoiser, recording: Recording, output: Path, **extras: bool) -> Applied:
    write_npz(recording, recording.source)
    (job,) = plan([str(recording.source)], output, None, Extras(**extras), denoiser.run.data).jobs
    return process(denoiser, job, recording)


def test_beats_and_heart_rate_are_written_beside_the_estimate(
    denoiser: Denoiser, heart: Heartbeat, tmp_path: Path
) -> None:
    """Of a heart of 75 bpm through a model that changes nothing, beside the rate of its annotated R peaks."""
    recording = heart(0, tmp_path / "in.npz", seconds=34.0, bpm=75.0)
    found = applied(denoiser, recording, tmp_path / "o" / "e.wav")
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"e.wav", "e.beats.csv", "e.heart_rate.csv"}
    beats = rows(tmp_path / "o" / "e.beats.csv")
    assert list(beats[0]) == ["time_s", "s2_s", "bpm", "probability"]
    assert recording.r_peaks_s is not None
    # One more may follow the last, for the rhythm goes on; it is not heard, and so not sure.
    sure = [row for row in beats if float(row["probability"]) > 0.95]
    np.testing.assert_allclose([float(row["time_s"]) for row in sure], recording.r_peaks_s + 0.05, atol=0.01)
    np.testing.assert_allclose([float(row["s2_s"]) for row in sure], recording.r_peaks_s + 0.34, atol=0.01)
    assert beats[0]["bpm"] == ""
    assert [float(row["bpm"]) for row in beats[1:]] == pytest.approx([75.0] * (len(beats) - 1), abs=1.5)
    spans = rows(tmp_path / "o" / "e.heart_rate.csv")
    assert list(spans[0]) == ["start_s", "end_s", "beats", "heart_rate_bpm", "probability"]
    assert [(row["start_s"], row["end_s"]) for row in spans] == [
        ("0.000", "10.000"), ("10.000", "20.000"), ("20.000", "30.000"), ("30.000", "34.000"),
    ]  # fmt: skip
    assert sum(int(row["beats"]) for row in spans) == len(beats)
    assert [float(row["heart_rate_bpm"]) for row in spans] == pytest.approx([75.0] * 4, abs=1)
    assert min(float(row["probability"]) for row in spans) > 0.95
    assert found.lines[1] == (
        f"heart rate: 75 bpm (median), {len(beats)} beats, sure in 34 of 34 s; "
        f"R peaks: 75 bpm (median), {len(sure)} beats"
    )
    assert found.document["heart_rate"]["n_beats"] == len(beats)
    assert found.document["reference"]["n_beats"] == len(sure)


def test_noise_has_no_sure_heart_rate_and_the_tables_leave_it_out(denoiser: Denoiser, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((1, 250 * 25)).astype(np.float32)
    found = applied(denoiser, Recording(noise, 250.0, ("z",), tmp_path / "in.npz"), tmp_path / "e.wav")
    beats, spans = rows(tmp_path / "e.beats.csv"), rows(tmp_path / "e.heart_rate.csv")
    assert [row["heart_rate_bpm"] for row in spans] == [""] * 3
    assert all(float(row["probability"]) < 0.9 for row in (*beats, *spans))
    assert sum(int(row["beats"]) for row in spans) == len(beats)
    assert found.lines[1] == "heart rate: unknown (the estimate does not tell it), sure in 0 of 25 s"
    assert found.document["heart_rate"]["bpm"] is None
    assert found.document["beats"] == {
        "evidence": "envelope", "calibrated": False, "threshold": 0.9, "sure_s": 0, "sure_share": 0.0,
    }  # fmt: skip


def test_r_peaks_that_are_no_reference_are_said_to_be_none(
    denoiser: Denoiser, heart: Heartbeat, tmp_path: Path
) -> None:
    recording = dataclasses.replace(heart(0, tmp_path / "in.npz"), r_peaks_s=np.array([1.0, 2.0]))
    assert applied(denoiser, recording, tmp_path / "e.wav").lines[1].endswith("; R peaks: unknown (2 beats in 30 s)")


def test_only_what_is_wanted_is_written(denoiser: Denoiser, heart: Heartbeat, tmp_path: Path) -> None:
    recording = heart(0, tmp_path / "in.npz", seconds=12.0)
    found = applied(denoiser, recording, tmp_path / "o" / "e.mat", beats=False)
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["e.mat"]
    assert (found.heart_rate, found.reference, len(found.lines)) == (None, None, 1)
    found = applied(denoiser, recording, tmp_path / "all" / "e.mat", picture=True, audible=True)
    assert {path.name for path in (tmp_path / "all").iterdir()} == {path.name for path in found.files}
    assert len(found.files) == 5
    sound = soundfile.info(tmp_path / "all" / "e.audible.wav")
    assert (sound.samplerate, sound.duration) == (SOUND_RATE_HZ, pytest.approx(12.0, abs=0.01))


@pytest.mark.parametrize(
    ("what", "seconds"), [("noise", 0.5), ("heart", 12.0), ("silence", 31.0), ("heart", 200.0), ("noise", 200.0)]
)
def test_a_picture_is_drawn_of_any_length_with_or_without_beats(
    what: str, seconds: float, heart: Heartbeat, tmp_path: Path
) -> None:
    n_samples = round(seconds * MEASURED_HZ)
    if what == "heart":
        own = heart(0, Path("a"), seconds=max(seconds, 2.0))
        signal = heart_trace(own.signals[0], own.rate_hz)[:n_samples]
    else:
        signal = (what == "noise") * np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    r_peaks_s = np.arange(0.5, seconds, 0.8) if what == "heart" else None
    beats = beats_of(Recording(signal[None], MEASURED_HZ, ("z",), Path("a")))
    draw_estimate(signal, signal, MEASURED_HZ, beats, r_peaks_s, "a $ and _ in a title", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 1000
        assert picture.height > (1000 if seconds > 30 else 700)


def test_a_long_sound_is_raised_in_pieces_without_a_seam() -> None:
    """A steady tone stays one: its envelope shows no joint."""
    seconds = 2 * PIECE_S + 10
    time_s = np.arange(round(seconds * MEASURED_HZ)) / MEASURED_HZ
    heard = audible(np.sin(2 * np.pi * 40 * time_s).astype(np.float32), MEASURED_HZ)
    assert heard.size == round(seconds * SOUND_RATE_HZ)
    for joint in (round(PIECE_S * SOUND_RATE_HZ), round(2 * PIECE_S * SOUND_RATE_HZ)):
        near = heard[joint - 400 : joint + 400].astype(np.float64)
        at_s = np.arange(near.size) / SOUND_RATE_HZ
        waves = np.stack([np.sin(2 * np.pi * 240 * at_s), np.cos(2 * np.pi * 240 * at_s)])
        fitted = np.linalg.lstsq(waves.T, near, rcond=None)[0] @ waves
        assert np.abs(near - fitted).max() < 0.01


def test_beats_are_measured_at_the_rate_of_any_estimate(heart: Heartbeat) -> None:
    """Also below the 200 Hz that the envelope needs."""
    for rate_hz in (125.0, 4000.0):
        recording = heart(0, Path("a"), seconds=20.0, rate_hz=rate_hz, bpm=66.0)
        assert beats_of(recording).heart_rate_bpm == pytest.approx(66, abs=1)


def test_a_recording_that_fails_does_not_end_the_others(denoiser: Denoiser, heart: Heartbeat, here: Path) -> None:
    Path("d").mkdir()
    for name in ("a", "c", "e"):
        write_npz(heart(0, Path(f"d/{name}.npz"), seconds=6.0), Path(f"d/{name}.npz"))
    Path("d/b.wav").write_text("no sound")
    write_npz(heart(0, Path("d/d.npz"), seconds=0.05), Path("d/d.npz"))
    Path("out/e.wav").mkdir(parents=True)
    (Path("out/e.wav") / "in the way").touch()
    seen: list[Path] = []
    console = Console(file=StringIO())
    jobs = plan(["d"], Path("out"), None, Extras(beats=False), denoiser.run.data).jobs
    read = partial(read_recording, denoiser.run.data)
    results = list(
        denoise_each(denoiser, jobs, read, None, 0, console, lambda recording: seen.append(recording.source))
    )
    assert [isinstance(result, Applied) for result in results] == [True, False, True, False, False]
    reasons = [result.reason for result in results if isinstance(result, Failure)]
    assert all(name in reason for name, reason in zip(("d/b.wav", "d/d.npz", "d/e.npz"), reasons, strict=True))
    assert [path.name for path in seen] == ["a.npz", "c.npz", "d.npz", "e.npz"]
    assert {path.name for path in Path("out").iterdir()} == {"a.wav", "c.wav", "e.wav"}
    with pytest.raises(ConfigError, match=r"window_s is 0.1"):
        next(denoise_each(denoiser, jobs, read, 0.1, 0, console, lambda recording: None))
