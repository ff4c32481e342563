"""Write synthetic recordings in the lab's layouts; equal recordings give equal bytes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat, wavfile

from data.errors import DataError
from data.files import atomic
from data.filters import resample
from data.recording import Recording, Signal

CHANNELS = ("ch1z", "ch2z", "ch3z", "ch4z", "ch5z", "ch6z")
SEGMENT_SAMPLES = 5120
WAV_ECG_HZ = 500
# Layout -> what a campaign holds besides standing and the speeds: 0 is idling.
SYNTH_LAYOUTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"240219": (0,), "240517": (), "240826": (), "wav": (0,)}
)
# MATLAB and scipy write the date here; a fixed text makes equal data give equal bytes.
_MAT5_TEXT = b"MATLAB 5.0 MAT-file, written by drivebeat".ljust(116)

TRUTH = "truth.npz"  # beside the generated recordings of a session: no recording itself


def run_name(speed_kmh: int | None) -> str:
    """Return the name of a run: stop, idle, 30km ..."""
    if speed_kmh is None:
        return "stop"
    return "idle" if speed_kmh == 0 else f"{speed_kmh}km"


def write_run(folder: Path, layout: str, speed_kmh: int | None, recordings: Sequence[Recording]) -> tuple[Path, ...]:
    """Write a run and return its files. Several recordings are allowed in layout 240517 only, which joins them.

    - 240219: Stop.mat, Idling.mat, 100km.mat: data [samples x 8] = Time, ECG, ch1z ... ch6z.
    - 240517: HS_data_serial.mat, Noise_data_serial.mat: HS_data, Noise_data [samples x 1] = ch1z.
    - 240826: HS_data_stop.mat, ECG_data_stop.mat, Noise_data_30km.mat: HS_data, ECG_data, data
      [segments x 5120] = ch1z or ECG in row order; what does not fill a row is left out.
    - wav: stop.wav, idle.wav, 30km.wav: six channels of float32; stop_ECG.wav at 500 Hz.
    """
    return tuple(_WRITERS[layout](folder, speed_kmh, recordings))


def write_truth(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> Path:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(arrays))
    return path


def _write_240219(folder: Path, speed_kmh: int | None, recordings: Sequence[Recording]) -> list[Path]:
    (recording,) = recordings
    name = {None: "Stop", 0: "Idling"}.get(speed_kmh) or run_name(speed_kmh)
    table = np.empty((recording.signals.shape[1], 2 + len(CHANNELS)), dtype=np.float32)
    table[:, 0] = np.arange(table.shape[0]) / recording.rate_hz
    table[:, 1] = _ecg(recording)
    table[:, 2:] = recording.signals.T
    return [_mat5(folder / f"{name}.mat", "data", table)]


def _write_240517(folder: Path, speed_kmh: int | None, recordings: Sequence[Recording]) -> list[Path]:
    column = np.concatenate([recording.signals[0] for recording in recordings])[:, None]
    variable = "HS_data" if speed_kmh is None else "Noise_data"
    return [_mat5(folder / f"{variable}_serial.mat", variable, column)]


def _write_240826(folder: Path, speed_kmh: int | None, recordings: Sequence[Recording]) -> list[Path]:
    (recording,) = recordings
    rows = _segments(recording.signals[0])
    if speed_kmh is not None:
        return [_mat5(folder / f"Noise_data_{run_name(speed_kmh)}.mat", "data", rows)]
    return [
        _mat5(folder / "HS_data_stop.mat", "HS_data", rows),
        _mat5(folder / "ECG_data_stop.mat", "ECG_data", _segments(_ecg(recording))),
    ]


def _write_wav(folder: Path, speed_kmh: int | None, recordings: Sequence[Recording]) -> list[Path]:
    (recording,) = recordings
    name = run_name(speed_kmh)
    paths = [_wav(folder / f"{name}.wav", round(recording.rate_hz), recording.signals.T)]
    if speed_kmh is None:
        lead = resample(_ecg(recording), recording.rate_hz, WAV_ECG_HZ)
        paths.append(_wav(folder / f"{name}_ECG.wav", WAV_ECG_HZ, lead))
    return paths


def _ecg(recording: Recording) -> Signal:
    if recording.ecg is None:
        raise DataError(f"{recording.source}: has no ECG; this layout needs one")
    return recording.ecg


def _segments(signal: Signal) -> Signal:
    n_rows = signal.size // SEGMENT_SAMPLES
    return signal[: n_rows * SEGMENT_SAMPLES].reshape(n_rows, SEGMENT_SAMPLES)


def _wav(path: Path, rate_hz: int, samples: Signal) -> Path:
    # Not soundfile: it writes the time of day into float files (PEAK chunk).
    with atomic(path) as temporary:
        wavfile.write(temporary, rate_hz, samples)
    return path


def _mat5(path: Path, variable: str, matrix: Signal) -> Path:
    with atomic(path) as temporary:
        savemat(str(temporary), {variable: matrix}, format="5")
        with temporary.open("r+b") as head:
            head.write(_MAT5_TEXT)
    return path


_Writer = Callable[[Path, int | None, Sequence[Recording]], list[Path]]
_WRITERS: Mapping[str, _Writer] = MappingProxyType(
    {
        "240219": _write_240219,
        "240517": _write_240517,
        "240826": _write_240826,
        "wav": _write_wav,
    }
)
