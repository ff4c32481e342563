"""SensSmartTech (PhysioNet): ECG, heart sound and accelerometer of the chest, 30 s before and after activity, at 1 kHz.

As published: WFDB/10_18-12-33_acc, _pcg, _ecg and _ppg, a WFDB record for each sensor, of subject 10 at 18:12:33. The
accelerometer has one axis, az, the ECG the leads I, II, V3 and V4.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from data.public.collection import SOUND, Collection, Item, Kind, Terms, below, files_of, in_order, named
from data.readers.contents import usable_ecg
from data.readers.read import read
from data.recording import Recording

TERMS = Terms("CC BY 4.0", shippable=True)
NAME = re.compile(r"((\d+)_\d+-\d+-\d+)_(acc|pcg|ecg)", re.IGNORECASE)
KINDS: dict[str, Kind] = {"acc": "accelerometer", "pcg": "microphone"}
LEADS = ("ii", "i", "v4", "v3")  # the lead with the tallest R waves in most people comes first
AXIS = re.compile(r"a(?:cc)?[ _-]?([xyz])|([xyz])", re.IGNORECASE)
SPAN_TOLERANCE_S = 1.0


def _items(folder: Path) -> Sequence[Item]:
    found: dict[tuple[str, str], Path] = {}
    for path in files_of(folder, ".hea"):
        if name := NAME.fullmatch(path.stem):
            found.setdefault((name[1], name[3].lower()), path)
    return in_order(
        _item(stem, sensor, path, found.get((stem, "ecg")), folder)
        for (stem, sensor), path in found.items()
        if sensor in KINDS
    )


def _item(stem: str, sensor: str, path: Path, ecg: Path | None, folder: Path) -> Item:
    return Item(
        name=f"{stem}_{sensor}",
        kind=KINDS[sensor],
        group=f"senssmarttech-{int(stem.partition('_')[0]):02d}",
        source=below(path, folder),
        terms=TERMS,
        load=lambda: _load(path, ecg),
        ranked=sensor == "pcg",
    )


def _load(path: Path, ecg: Path | None) -> Recording:
    recording = read(path)
    if path.stem.lower().endswith("pcg"):
        if len(recording.channels) != 1:
            raise DataError(f"{path}: {len(recording.channels)} channels; the sound of one microphone is needed")
        recording = named(recording, (SOUND,))
    else:
        recording = named(recording, [_axis(name, path) for name in recording.channels])
    return recording if ecg is None else _with_ecg(recording, ecg)


def _axis(name: str, path: Path) -> str:
    found = AXIS.fullmatch(name.strip())
    if found is None:
        raise DataError(f"{path}: channel {name!r} is no axis of an accelerometer, as ax, ay or az")
    return (found[1] or found[2]).lower()


def _with_ecg(recording: Recording, path: Path) -> Recording:
    """Return the recording with its ECG: the first lead of LEADS that was connected, if there is one.

    Raises DataError.
    """
    leads = read(path)
    if abs(leads.duration_s - recording.duration_s) > SPAN_TOLERANCE_S:
        raise DataError(
            f"{path}: this ECG lasts {leads.duration_s:.1f} s, {recording.source.name} {recording.duration_s:.1f} s"
        )
    known = {name.strip().lower(): row for name, row in zip(leads.channels, leads.signals, strict=True)}
    ordered = [known[lead] for lead in LEADS if lead in known] or list(leads.signals)
    usable = next((ecg for row in ordered if (ecg := usable_ecg(row)) is not None), None)
    return recording if usable is None else replace(recording, ecg=usable, ecg_rate_hz=leads.rate_hz)


SENSSMARTTECH = Collection(
    "senssmarttech",
    "SensSmartTech",
    "WFDB record of a heart's sensor (WFDB/10_18-12-33_acc.hea, 10_18-12-33_pcg.hea)",
    _items,
)
