"""Small collections in the layouts in which their authors publish them, with hearts that beat and vehicles that rumble.

The middle recording of each, in the order of names, lies in files of its own, so that a test can damage it alone.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SECONDS = 12.0


def beating(rate_hz: float, bpm: float = 72.0, seconds: float = SECONDS, seed: int = 0, noise: float = 0.01) -> Floats:
    """S1 and S2 as bursts of 38 Hz, with white noise of the deviation `noise`; the peak is about 1."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    sounds = np.zeros_like(time_s)
    for beat_s in np.arange(0.2, seconds, 60.0 / bpm):
        for after_s, size in ((0.0, 0.8), (0.3, 0.5)):
            away_s = time_s - beat_s - after_s
            sounds += size * np.exp(-0.5 * (away_s / 0.02) ** 2) * np.cos(2 * np.pi * 38.0 * away_s)
    return sounds + noise * rng.standard_normal(time_s.size)


def beats_of_ecg(rate_hz: float, bpm: float = 72.0, seconds: float = SECONDS) -> Floats:
    """An R wave a beat."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    peaks = sum(np.exp(-0.5 * ((time_s - at) / 0.01) ** 2) for at in np.arange(0.2, seconds, 60.0 / bpm))
    return np.asarray(peaks, np.float64)


@dataclass(frozen=True)
class Expected:
    """A recording as it must come out. ecg_hz: the rate of its ECG; None for none."""

    kind: str
    group: str
    channels: tuple[str, ...]
    rate_hz: float
    label: str = ""
    ecg_hz: float | None = None


@dataclass(frozen=True)
class Published:
    """A collection that `write` makes in a folder.

    variant: makes the same recordings with other folders and letters, which are accepted too.
    damaged: a file of the middle recording alone, and the name of that recording.
    """

    name: str
    write: Callable[[Path], None]
    variant: Callable[[Path], None]
    expected: Mapping[str, Expected]
    damaged: tuple[str, str]


def save_wfdb(folder: Path, name: str, signals: Mapping[str, Floats], rate_hz: float, fmt: str = "16") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        wfdb.wrsamp(
            name,
            fs=rate_hz,
            units=["mV"] * len(signals),
            sig_name=[*signals],
            p_signal=np.column_stack([*signals.values()]),
            fmt=[fmt] * len(signals),
            write_dir=str(folder),
        )


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


# MSCardio -------------------------------------------------------------------------------------------------------------

CHEST_HZ = 100.0
RECORDINGS = ((1, 1), (1, 2), (12, 1))  # subject and recording


def _chest(seed: int) -> Floats:
    """Three axes [time, axis], of which y has the heart."""
    rng = np.random.default_rng(seed)
    axes = 0.3 * rng.standard_normal((round(SECONDS * CHEST_HZ), 3))
    axes[:, 1] = beating(CHEST_HZ, seed=seed)
    return axes


def _phone_csv(path: Path, axes: Floats, heading: str, with_epoch: bool) -> None:
    """A table of the app: times since 1970 in ns as it has them, and since the start in s."""
    lines = [heading]
    for i, (x, y, z) in enumerate(axes.tolist()):
        since_s = 0.05 + i / CHEST_HZ
        epoch = f"{1_733_212_855_000_000_000 + round(since_s * 1e9)}," if with_epoch else ""
        lines.append(f"{epoch}{since_s:.9f},{x:.16f},{y:.16f},{z:.16f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _mscardio(folder: Path) -> None:
    for subject, recording in RECORDINGS:
        place = _folder(folder / "MSCardio" / f"Subject_{subject:04d}" / f"Recording_{recording:03d}")
        axes = _chest(10 * subject + recording)
        _phone_csv(place / "scg.csv", axes, "time,seconds_elapsed,x,y,z", with_epoch=True)
        _phone_csv(place / "uncalibrated_scg.csv", axes + 9.81, "time,seconds_elapsed,x,y,z", with_epoch=True)
        (place / "recording_metadata.json").write_text("{}", encoding="utf-8")
    _folder(folder / "info")
    (folder / "info" / "all_subject_data.csv").write_text("subject,age\nSubject_0001,30\n", encoding="utf-8")


def _mscardio_variant(folder: Path) -> None:
    for subject, recording in RECORDINGS:
        path = folder / "Data" / "raw" / f"SUBJECT_{subject:04d}_Recording_{recording:03d}.CSV"
        _phone_csv(path, _chest(10 * subject + recording), "Time (s),Acc_X,Acc_Y,Acc_Z", with_epoch=False)


MSCARDIO = Published(
    "mscardio",
    _mscardio,
    _mscardio_variant,
    {
        f"Subject_{subject:04d}_Recording_{recording:03d}": Expected(
            "accelerometer", f"mscardio-{subject:04d}", ("y", "x", "z"), CHEST_HZ
        )
        for subject, recording in RECORDINGS
    },
    ("MSCardio/Subject_0001/Recording_002/scg.csv", "Subject_0001_Recording_002"),
)

# PhysioNet/CinC 2016 --------------------------------------------------------------------------------------------------

SOUND_HZ = 2000.0
SOUNDS = {"a0001": 1, "a0002": -1, "e00003": -1}


def _cinc_wav(path: Path, name: str) -> Floats:
    sound = 0.5 * beating(SOUND_HZ, seed=len(name) + SOUNDS[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, round(SOUND_HZ), "PCM_16")
    return sound


def _cinc2016(folder: Path) -> None:
    """Headers as published: the sound is a .wav file whose first 44 bytes are skipped, the ECG of training-a a .dat."""
    for name, label in SOUNDS.items():
        place = _folder(folder / f"training-{name[0]}")
        n_samples = _cinc_wav(place / f"{name}.wav", name).size
        lines = [f"{name} 1 2000 {n_samples}", f"{name}.wav 16+44 1 16 0 0 0 0 PCG"]
        if name.startswith("a"):
            lines[0] = f"{name} 2 2000 {n_samples}"
            lines.append(f"{name}.dat 16 1000 16 0 0 0 0 ECG")
            (1000 * beats_of_ecg(SOUND_HZ)).astype("<i2").tofile(place / f"{name}.dat")
        lines.append(f"# {'Abnormal' if label == 1 else 'Normal'}")
        (place / f"{name}.hea").write_text("\n".join([*lines, ""]), encoding="ascii")
        with (place / "REFERENCE.csv").open("a", encoding="ascii") as file:
            file.write(f"{name},{label}\n")
    _cinc_wav(folder / "validation" / "a0001.wav", "a0001")  # a copy


def _cinc2016_variant(folder: Path) -> None:
    """Sounds without headers in one folder, and one table of classes."""
    for name in SOUNDS:
        _cinc_wav(folder / "audio" / f"{name.upper()}.WAV", name)
    rows = [f"{name},{label},1" for name, label in SOUNDS.items()]
    (folder / "REFERENCE-SQI.csv").write_text("\n".join([*rows, ""]), encoding="ascii")


CINC2016 = Published(
    "cinc2016",
    _cinc2016,
    _cinc2016_variant,
    {
        name: Expected(
            "microphone",
            f"cinc2016-{name[0]}",
            ("pcg",),
            SOUND_HZ,
            "abnormal" if label == 1 else "normal",
            SOUND_HZ if name.startswith("a") else None,
        )
        for name, label in SOUNDS.items()
    },
    ("training-a/a0002.wav", "a0002"),
)

# SensSmartTech --------------------------------------------------------------------------------------------------------

SENSORS_HZ = 1000.0
MOMENTS = ("2_14-08-15", "10_18-12-33")


def _senssmarttech(folder: Path) -> None:
    """A record for each sensor; that with the ECG has four leads, of which II is taken."""
    place = _folder(folder / "WFDB")
    for i, moment in enumerate(MOMENTS):
        ecg = beats_of_ecg(SENSORS_HZ)
        save_wfdb(place, f"{moment}_acc", {"az": beating(SENSORS_HZ, seed=i)}, SENSORS_HZ, "32")
        save_wfdb(place, f"{moment}_pcg", {"pcg": beating(SENSORS_HZ, seed=10 + i)}, SENSORS_HZ, "32")
        save_wfdb(place, f"{moment}_ppg", {"carotid_880nm": ecg}, SENSORS_HZ, "32")
        leads = {"I": 0.1 * ecg, "II": ecg, "V3": -ecg, "V4": 2 * ecg}
        save_wfdb(place, f"{moment}_ecg", leads, SENSORS_HZ, "32")
    (folder / "Demographics.csv").write_text("File number,Subject number\n1,2\n", encoding="ascii")


def _senssmarttech_variant(folder: Path) -> None:
    _senssmarttech(folder / "physionet.org" / "files" / "senssmarttech" / "1.0.0")


SENSSMARTTECH = Published(
    "senssmarttech",
    _senssmarttech,
    _senssmarttech_variant,
    {
        f"{moment}_{sensor}": Expected(
            kind, f"senssmarttech-{int(moment.partition('_')[0]):02d}", (channel,), SENSORS_HZ, ecg_hz=SENSORS_HZ
        )
        for moment in MOMENTS
        for sensor, kind, channel in (("acc", "accelerometer", "z"), ("pcg", "microphone", "pcg"))
    },
    ("WFDB/2_14-08-15_pcg.dat", "2_14-08-15_pcg"),
)

# EPHNOGRAM ------------------------------------------------------------------------------------------------------------

EPHNOGRAM_HZ = 8000.0
RECORDS = {"ECGPCG0003": "S003", "ECGPCG0004": "S004", "ECGPCG0040": "S003"}
SCENARIO = "rest: sitting on armchair"


def _ephnogram(folder: Path) -> None:
    place = _folder(folder / "WFDB")
    rows = ["Record Name,Subject ID,Record Duration (min),Age (years),Gender,Recording Scenario,Num Channels"]
    for i, (name, subject) in enumerate(RECORDS.items()):
        signals = {"ECG": beats_of_ecg(EPHNOGRAM_HZ), "PCG": beating(EPHNOGRAM_HZ, seed=i)}
        if name == "ECGPCG0004":  # some records have more channels
            noise = np.random.default_rng(i).standard_normal(signals["PCG"].size)
            signals |= {"PCG2": noise, "AUX1": noise + 1, "AUX2": -noise}
        save_wfdb(place, name, signals, EPHNOGRAM_HZ)
        rows.append(f"{name},{subject},0.5,28,Male,{SCENARIO},{len(signals)}")
    (folder / "ECGPCGSpreadsheet.csv").write_text("\n".join([*rows, ""]), encoding="ascii")


def _ephnogram_variant(folder: Path) -> None:
    _ephnogram(folder / "EPHNOGRAM-1.0.0")
    table = folder / "EPHNOGRAM-1.0.0" / "ECGPCGSpreadsheet.csv"
    table.write_text("\ufeff" + table.read_text("ascii").lower(), encoding="utf-8")


EPHNOGRAM = Published(
    "ephnogram",
    _ephnogram,
    _ephnogram_variant,
    {
        name: Expected("microphone", f"ephnogram-{subject}", ("pcg",), EPHNOGRAM_HZ, SCENARIO, EPHNOGRAM_HZ)
        for name, subject in RECORDS.items()
    },
    ("WFDB/ECGPCG0004.dat", "ECGPCG0004"),
)

# The packed recordings ------------------------------------------------------------------------------------------------

PACKED_HZ = 1000.0
DRIVE_HZ = 198.0


def _packed(signals: Floats) -> tuple[NDArray[np.int16], np.float32]:
    scale = np.float32(np.abs(signals).max() / 32767)
    return np.round(signals / scale).astype(np.int16), scale


def _realdata2(folder: Path) -> None:
    """Two hearts in one file, of which the second is shorter; two on chests; two vehicles, one with its vertical x."""
    entries: list[dict[str, Any]] = []

    def save(file: str, shippable: bool, about: Mapping[str, str], **arrays: Any) -> None:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append({"file": file, "sha256": digest, "licence": "MIT", "shippable": shippable, **about})

    n_whole, n_short = round(SECONDS * PACKED_HZ), round(10 * PACKED_HZ)
    sounds = np.stack([beating(PACKED_HZ, 60.0, seed=1), beating(PACKED_HZ, 80.0, seed=2)])
    gain = np.array([30000.0, 29000.0], np.float32)
    save(
        "heart_pcg/cinc2016_a.npz",
        True,
        {},
        x=np.round(np.clip(sounds / 1.1, -1, 1) * gain[:, None]).astype(np.int16),
        n=np.array([n_whole, n_short], np.int32),
        gain=gain,
        fs=np.float64(PACKED_HZ),
        name=np.array(["a0001", "a0002"]),
        label=np.array(["abnormal", "normal"]),
    )
    for subject in (1, 2):
        x, scale = _packed(_chest(subject))
        file = f"heart_scg/Subject_{subject:04d}_Recording_001.npz"
        save(file, True, {}, x=x, scale=scale, fs=np.float64(CHEST_HZ), best=np.int8(1), axes="x,y,z (z out)")
    rng = np.random.default_rng(7)
    for name, vehicle, vertical in (("drive_1", "Car (one)", 2), ("ride_1", "Scooter", 0)):
        x, scale = _packed(rng.standard_normal((round(20 * DRIVE_HZ), 3)))
        about = {"vehicle": vehicle, "kind": "on the road"}
        rate = np.float64(DRIVE_HZ)
        save(f"vehicle/{name}.npz", False, about, x=x, scale=scale, fs=rate, vertical=np.int8(vertical))
    (folder / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")


def _realdata2_variant(folder: Path) -> None:
    """Its files carry their places in the manifest, so only what lies beside them may differ."""
    _realdata2(folder)
    (folder / "README.md").write_text("# Recordings\n", encoding="utf-8")
    (folder / "vehicle" / "._drive_1.npz").write_bytes(b"of another system")


REALDATA2 = Published(
    "realdata2",
    _realdata2,
    _realdata2_variant,
    {
        "cinc2016-a0001": Expected("microphone", "cinc2016-a", ("pcg",), PACKED_HZ, "abnormal"),
        "cinc2016-a0002": Expected("microphone", "cinc2016-a", ("pcg",), PACKED_HZ, "normal"),
        "mscardio-subject-0001-recording-001": Expected("accelerometer", "mscardio-0001", ("y", "x", "z"), CHEST_HZ),
        "mscardio-subject-0002-recording-001": Expected("accelerometer", "mscardio-0002", ("y", "x", "z"), CHEST_HZ),
        "drive-1": Expected("vehicle", "car-one", ("z", "x", "y"), DRIVE_HZ, "on the road"),
        "ride-1": Expected("vehicle", "scooter", ("z", "x", "y"), DRIVE_HZ, "on the road"),
    },
    ("heart_scg/Subject_0002_Recording_001.npz", "mscardio-subject-0002-recording-001"),
)

PUBLISHED: Sequence[Published] = (MSCARDIO, CINC2016, SENSSMARTTECH, EPHNOGRAM, REALDATA2)
