"""Denoise a recording with a trained run, without writing files.

denoiser = load_denoiser(Path("runs/best"))
estimate = denoise(denoiser, read_recording(denoiser.run.data, Path("drive.csv")))
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from data.config import DataConfig
from data.errors import DataError
from data.files import is_beside, recording_file
from data.readers.read import READERS, read, variables
from data.recording import Recording
from training.apply import hear
from training.calibration import DEFAULT, Calibration, read_calibration
from training.channels import choose, names_of, with_note_of_missing
from training.config import RunConfig
from training.device import arithmetic, memory_errors, resolve_device
from training.errors import TrainingFailed
from training.runs import load_model, override, read_folder
from training.sounds import SoundFrames

ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True, eq=False)
class Denoiser:
    """A trained run, ready to denoise.

    run: its config. model: on the device named `device_name`.
    calibration: of the probabilities of its beats.
    """

    run: RunConfig
    model: nn.Module
    device_name: str
    calibration: Calibration = DEFAULT


def load_denoiser(folder: Path, device_name: str = "auto", threads: int | None = None) -> Denoiser:
    """Load the run in `folder`. The same denoiser can be used for any number of recordings.

    device_name: "auto", "cpu", "cuda" or "cuda:N".
    threads: CPU threads; None takes the number in the run's config. Another number changes the last bits.

    Raises ConfigError if the folder holds no run, a beats.json that cannot be used, or the device is not there;
    CheckpointError if the weights do not fit.
    """
    return denoiser_of(read_folder(folder), folder, device_name, threads)


def denoiser_of(stored: RunConfig, folder: Path, device_name: str = "auto", threads: int | None = None) -> Denoiser:
    """Load the model of `stored`, the run in `folder`, as load_denoiser does."""
    run = override(stored, device=device_name, threads=threads)
    device = resolve_device(run.fit.device)
    with memory_errors():
        model = load_model(run, folder).to(device)
    return Denoiser(run, model, str(device), read_calibration(folder))


def read_recording(data: DataConfig, path: Path, channels: tuple[str, ...] = (), **options: Any) -> Recording:
    """Read the channels of a recording that a model needs, and its ECG if the run names a separate file for it.

    In a file with a variable for each channel, the variables with the names in the run are the channels.

    data: of the model's run.
    channels: the channel to denoise, then the references; empty for those with the names in the run.
    options: of data.readers.read.read. Gaps are filled unless `gaps` says otherwise, so that the samples keep their
        times.

    Raises DataError for a file that cannot be read, ConfigError for one without the model's channels.
    """
    if not channels and not options.get("variable") and not options.get("variables"):
        options = {**options, "variables": variables_of(data, path)}
    chosen = channels or partial(choose, data, path)
    reading = partial(read, path, channels=chosen, **{"gaps": "fill", **options})
    ecg = ecg_file(data, path)
    if ecg is None:
        return with_note_of_missing(data, reading())
    try:
        recording = reading(ecg=ecg)
    except DataError as error:
        recording = reading()  # raises again if the recording is at fault
        recording = replace(recording, notes=(*recording.notes, f"its ECG is not used ({error})"))
    return with_note_of_missing(data, recording)


def variables_of(data: DataConfig, path: Path) -> tuple[str, ...]:
    """Return the variables of a .mat, .npz or .h5 file that have the names of the model's channels; () without.

    Raises DataError for a file that cannot be read.
    """
    suffix = recording_file(path).suffix.lower()
    if suffix not in READERS or not READERS[suffix].named:
        return ()
    known = {variable.name.casefold(): variable.name for variable in variables(path)}
    wanted = (tuple(known.get(name.casefold(), "") for name in names) for names in names_of(data))
    return next((names for names in wanted if all(names)), ())


def ecg_file(data: DataConfig, path: Path) -> Path | None:
    """Return the file beside a recording that holds its ECG by the rule `ecg` of the run's sources; None without."""
    path = recording_file(path)
    for rule in dict.fromkeys(source.ecg for source in (*data.clean, *data.noise) if source.ecg is not None):
        name = path.name.replace(rule.replace, rule.by)
        if name != path.name and is_beside(name) and path.with_name(name).is_file():
            return path.with_name(name)
    return None


def denoise(
    denoiser: Denoiser,
    recording: Recording,
    window_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Recording:
    """Return the estimate of a recording as a recording: one channel, with its rate, length, ECG, R peaks and notes.

    An estimate does not depend on what was denoised before.

    recording: its channels are those of the model, see read_recording.
    window_s, progress: see training.apply.apply.

    Raises ConfigError for another number of channels or windows shorter than those of training, DataError for a
    recording too short to filter, TrainingFailed if the model's output is not finite.
    """
    return denoise_and_hear(denoiser, recording, window_s, progress)[0]


@memory_errors()
def denoise_and_hear(
    denoiser: Denoiser,
    recording: Recording,
    window_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Recording, SoundFrames | None]:
    """Return the estimate of `denoise`, and the heart sounds that the model's network for beats finds.

    The sounds are None for a model without that network. The arguments and errors are those of `denoise`.
    """
    run = denoiser.run
    device = resolve_device(denoiser.device_name)
    with arithmetic(run.fit.seed, device, run.fit.threads):
        heard = hear(denoiser.model, recording, run.data, device, window_s=window_s, progress=progress)
    return _estimate_of(recording, heard.estimate), heard.sounds


def _estimate_of(recording: Recording, estimate: NDArray[np.float32]) -> Recording:
    """Return an estimate float32[time] as a recording like `recording`. Raises TrainingFailed if it is not finite."""
    n_bad = int(estimate.size - np.count_nonzero(np.isfinite(estimate)))
    if n_bad:
        raise TrainingFailed(
            f"{recording.source}: {n_bad} of {estimate.size} samples of the model's estimate are not finite; "
            "evaluate the run, and train it again if its scores are not finite either"
        )
    return replace(recording, signals=estimate[None], channels=(ESTIMATE,))
