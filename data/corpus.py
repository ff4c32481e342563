"""The corpus of a run: recordings read, resampled, band-passed and divided into train, validation and test."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from data.cache import Cache, Prepared, open_cache, store
from data.conditioning import band_of, carried, in_config_band
from data.config import HEART_BAND_HZ, DataConfig, Source
from data.ecg import beats, problem_of
from data.errors import DataError
from data.files import is_beside, matching
from data.filters import bandpass
from data.groups import groups_of
from data.readers.contents import listing
from data.readers.read import read
from data.recording import Recording, Signal, frozen
from data.splits import SPLITS, Entry, deal, time_parts


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A part of one recording in time, or all of it, prepared for cutting windows.

    signals: read-only float32[channel, time] at the config's rate; channel 0 is to be denoised.
    in_band: read-only float32[time], channel 0 in the heart's band, in which SNRs are measured.
    source: the recording's file.
    r_peaks_s: seconds from the start of the segment; None if the recording has neither annotations nor an ECG.
    weight: how often training draws windows from it, see data.config.Source.
    group: its person or car; None if its source has no rule for groups.
    """

    signals: Signal
    in_band: Signal
    source: Path
    r_peaks_s: NDArray[np.float64] | None = None
    weight: float = 1.0
    group: str | None = None

    @property
    def n_samples(self) -> int:
        return int(self.signals.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The clean and the noise recordings of train, validation or test."""

    clean: tuple[Segment, ...]
    noise: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """The clean or the noise recordings of a split in numbers.

    groups: persons or cars; a recording without a group counts as one.
    """

    recordings: int
    minutes: float
    groups: int


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """The data of a run.

    splits: train, validation and test.
    n_channels: of all signals.
    fingerprint: identifies the recordings and their roles.
    notes: what was assumed, corrected or left out in reading the recordings, each with the recordings it is true of.

    Splits, their order and the fingerprint depend on the content of the recordings and the config's seed only; the
    splits also on which recordings share a group. They do not change if files are renamed, moved or listed in another
    order.
    """

    config: DataConfig
    splits: Mapping[str, Split]
    n_channels: int
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> Mapping[str, tuple[Totals, Totals]]:
        """Return the clean and the noise recordings of each split in numbers."""
        return {use: (self._totals(split.clean), self._totals(split.noise)) for use, split in self.splits.items()}

    def _totals(self, segments: Sequence[Segment]) -> Totals:
        minutes = sum(segment.n_samples for segment in segments) / self.config.rate_hz / 60
        return Totals(len(segments), minutes, len({segment.group or segment.source for segment in segments}))


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """A recording as a source lists it, prepared.

    role: "clean" or "noise". digest, channel_digest: see data.cache.Prepared.
    """

    role: str
    source: Source
    path: Path
    digest: str
    channel_digest: str
    segment: Segment
    notes: tuple[str, ...]


def load(config: DataConfig, needed: Collection[str] = SPLITS) -> Corpus:
    """Read and prepare all recordings of `config`, or map them into memory from the cache with the same result.

    needed: the splits that must have clean and noise recordings; the others may be empty.

    Raises DataError if a glob matches no file, a file cannot be read, a recording is shorter than a window or is listed
    in two roles or splits, or a needed split has no recordings.
    """
    start, moved = start_of(config)
    listed = [
        (role, source, _grouped(find(source, start, moved), source, start))
        for role, sources in (("clean", config.clean), ("noise", config.noise))
        for source in sources
    ]
    with open_cache() as cache:
        found = [
            _prepared(path, source, config, role, group, cache)
            for role, source, groups in listed
            for path, group in groups.items()
        ]
    _refuse_repeats(found)
    splits = _divided(found, config, needed)
    if "train" in needed:
        _check_groups(splits["train"], config)
    fingerprint = _sha256(*(f"{f.role} {f.digest}".encode() for f in sorted(found, key=lambda f: (f.role, f.digest))))
    notes = (*([moved] if moved else ()), *_noted(found))
    return Corpus(config, MappingProxyType(splits), config.n_channels, fingerprint[:16], notes)


def _grouped(paths: Sequence[Path], source: Source, start: Path) -> Mapping[Path, str | None]:
    """Return the group of each recording of a source; None where the source has no rule for groups."""
    return groups_of(paths, source.group, start) if source.group is not None else dict.fromkeys(paths)


def _divided(found: Sequence[_Listed], config: DataConfig, needed: Collection[str]) -> dict[str, Split]:
    """Return the recordings of each split: pinned, without a group, and by group, each in the order of their digests.

    Raises DataError for a needed split without a clean or a noise recording.
    """
    found = sorted(found, key=lambda f: (f.source.use == "split", f.segment.group is not None, f.digest))
    entries = [Entry(f.role, f.digest, f.source.use, f.segment.group) for f in found]
    dealt: dict[tuple[str, str], list[Segment]] = {(use, role): [] for use in SPLITS for role in ("clean", "noise")}
    for f, side in zip(found, deal(entries, config.split), strict=True):
        parts = _cut(f.segment, config) if side is None else {side: f.segment}
        for use, segment in parts.items():
            dealt[use, f.role].append(segment)
    for (use, role), segments in dealt.items():
        if not segments and use in needed:
            n_groups = len({f.segment.group for f in found if f.role == role} - {None})
            counted = f" ({n_groups} group{'s' if n_groups > 1 else ''}; a group is never divided)" if n_groups else ""
            raise DataError(
                f"too few windows: {use} has no {role} recording{counted}; give more "
                f'{"groups" if n_groups else "files"}, let some have use = "split", or pin one to it'
            )
    return {use: Split(tuple(dealt[use, "clean"]), tuple(dealt[use, "noise"])) for use in SPLITS}


def _noted(found: Sequence[_Listed]) -> tuple[str, ...]:
    """Return each note with the recordings it is true of: two of them by name, the others by number."""
    names: dict[str, list[str]] = {}
    for listed in found:
        for note in listed.notes:
            names.setdefault(note, []).append(str(listed.path))
    return tuple(f"{listing(sorted(files), at_most=2)}: {note}" for note, files in sorted(names.items()))


def _check_groups(train: Split, config: DataConfig) -> None:
    """Raise DataError if a clean recording for training is shorter than a group of windows."""
    for segment in train.clean:
        if segment.n_samples < config.group_samples:
            raise DataError(
                f"{segment.source}: {segment.n_samples / config.rate_hz:.2f} s for training is shorter than "
                f"{config.batch_offsets} windows {config.offset_samples} samples apart, "
                f"{config.group_samples / config.rate_hz:.2f} s; lower batch_offsets or offset_samples, or leave it out"
            )


def start_of(config: DataConfig) -> tuple[Path, str]:
    """Return the folder that relative paths start from, and a note where it is not the config's `base`.

    A base that is not on this machine is replaced by the working directory: recordings lie in other places on other
    machines.
    """
    if config.base is None or Path(config.base) == Path.cwd():
        return Path(), ""
    if Path(config.base).is_dir():
        return Path(config.base), ""
    return Path(), f"the folder of the study, {config.base}, is not here; paths start from {Path.cwd()}"


def find(source: Source, start: Path = Path(), moved: str = "") -> list[Path]:
    """Return the files of `source`, sorted, each once. Raises DataError if a glob matches nothing, or cannot.

    start, moved: see start_of.
    """
    return sorted({path for pattern in source.files for path in matching(pattern, start, moved)})


def _prepared(
    path: Path, source: Source, config: DataConfig, role: str, group: str | None, cache: Cache | None
) -> _Listed:
    """Return the prepared recording at `path`, from the cache if it is there. Raises DataError."""
    ecg = _ecg_of(path, source)
    # Everything that `_make` depends on besides the content of the files.
    settings = {
        "variable": source.variable,
        "variables": source.variables,
        "gaps": source.gaps,
        "stated_hz": source.rate_hz,
        "layout": source.layout,
        "channels": source.channels,
        "rate_hz": config.rate_hz,
        "band_hz": config.band_hz,
        "level": config.level,
        "n_channels": config.n_channels,
        "role": role,
    }
    # Left out where it changes nothing, so that entries of before keep their names.
    if source.highest_hz is not None and source.highest_hz < band_of(config)[1]:
        settings["highest_hz"] = source.highest_hz
    if config.band_hz is not None and config.band_phase != "zero":
        settings["band_phase"] = config.band_phase
    prepared = store(cache, path, ecg, settings, lambda: _make(path, ecg, source, config, role))
    # Checked again, because a cached recording may have been prepared for shorter windows.
    _check_length(path, prepared.duration_s, config)
    segment = Segment(prepared.signals, prepared.in_band, path, prepared.r_peaks_s, source.weight, group)
    return _Listed(role, source, path, prepared.digest, prepared.channel_digest, segment, prepared.notes)


def _make(path: Path, ecg: Path | None, source: Source, config: DataConfig, role: str) -> Prepared:
    """Read and prepare the recording at `path`. Raises DataError."""
    recording = _read(path, ecg, source)
    _check_length(path, recording.duration_s, config)
    part = carried(recording, config, source.highest_hz)
    signals, in_band = _prepare(recording, config, role)
    peaks_s = beats(recording) if role == "clean" else None
    problem = "" if peaks_s is None else problem_of(peaks_s, recording.duration_s)
    note = (f"the ECG is not used for scores of the heart rate: {problem}",) if problem else ()
    rate = f"{recording.rate_hz}".encode()
    return Prepared(
        signals=signals,
        in_band=in_band,
        r_peaks_s=None if problem or peaks_s is None else frozen(peaks_s, np.float64),
        duration_s=recording.duration_s,
        digest=_sha256(rate, *(row.data for row in recording.signals), b"" if peaks_s is None else peaks_s.tobytes()),
        channel_digest=_sha256(rate, recording.signals[0].data),
        notes=(*recording.notes, *note, *part),
    )


def _sha256(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _refuse_repeats(found: Sequence[_Listed]) -> None:
    """Raise DataError if a recording is listed twice, by its file or by its content.

    Channels or variables of one file may be listed separately if all are pinned to the same split: they may be of one
    measurement. Clean and noise may be different variables of a file.
    """
    seen: dict[object, list[_Listed]] = {}
    for f in found:
        for key in (f.path.resolve(), f.channel_digest):
            for other in seen.setdefault(key, []):
                if f is not other and (other.channel_digest == f.channel_digest or not _may_share(f, other)):
                    raise DataError(
                        f"{f.path}: listed as {f.role} (use {f.source.use}), and the same recording as {other.role} "
                        f"(use {other.source.use}) in {other.path}; list it once, or pin its channels or variables to "
                        "one use, or it is scored on what it learnt"
                    )
            seen[key].append(f)


def _may_share(f: _Listed, other: _Listed) -> bool:
    """Return whether two parts of one file may be listed separately."""
    if f.role == other.role:
        return f.source.use == other.source.use != "split"
    named, others = (set(listed.source.variables or (listed.source.variable,)) - {None} for listed in (f, other))
    return bool(named and others) and named.isdisjoint(others)


def _ecg_of(path: Path, source: Source) -> Path | None:
    """Return the separate ECG file of a recording; None if the source names none. Raises DataError."""
    if source.ecg is None:
        return None
    name = path.name.replace(source.ecg.replace, source.ecg.by)
    if name == path.name:
        raise DataError(f"{path}: its name does not hold {source.ecg.replace!r}, so its ECG cannot be found")
    if not is_beside(name):
        raise DataError(f"{path}: its ECG {name!r} is not the name of a file beside it; correct ecg.by")
    return path.with_name(name)


def _read(path: Path, ecg: Path | None, source: Source) -> Recording:
    """Read the channels or variables that `source` names, or the first channel. Raises DataError."""
    return read(
        path,
        variable=source.variable,
        variables=source.variables,
        rate_hz=source.rate_hz,
        layout=source.layout,
        channels=source.channels or None,
        n_channels=source.n_channels,
        ecg=ecg,
        gaps=source.gaps,
    )


def _check_length(path: Path, duration_s: float, config: DataConfig) -> None:
    """Raise DataError if a recording is shorter than a window."""
    if round(duration_s * config.rate_hz) < config.window_samples:
        raise DataError(
            f"{path}: {duration_s:.2f} s is shorter than one window of {config.window_samples} samples "
            f"({config.window_samples / config.rate_hz:.2f} s at {config.rate_hz:g} Hz); leave it out or "
            "take shorter windows"
        )


def _prepare(recording: Recording, config: DataConfig, role: str) -> tuple[Signal, Signal]:
    """Condition a recording, set its level, and add silent reference channels to a clean one.

    Returns the signals float32[channel, time] and the first in the heart's band, float32[time]. Raises DataError.
    """
    signals = in_config_band(recording, config)
    in_band = signals[0] if config.band_hz is not None else bandpass(signals[0], config.rate_hz, *HEART_BAND_HZ)
    if config.level == "unit":
        rms = float(np.sqrt(np.mean(np.square(in_band, dtype=np.float64))))
        if rms == 0:
            raise DataError(f"{recording.source}: nothing in the band; is it the right channel?")
        signals, in_band = signals / rms, in_band / rms
    missing = config.n_channels - signals.shape[0]
    if missing and role == "noise":
        raise DataError(
            f"{recording.source}: {signals.shape[0]} channels where {config.n_channels} are asked for; "
            "noise must carry every reference channel, so list them under its channels"
        )
    if missing:  # silent reference channels, as from a sensor too far away to record the heart
        signals = np.concatenate([signals, np.zeros((missing, signals.shape[1]), np.float32)])
    return frozen(signals), frozen(in_band)


def _cut(segment: Segment, config: DataConfig) -> dict[str, Segment]:
    """Divide a segment in time among the splits, with gaps of a window. Raises DataError if it is too short."""
    guard = config.window_samples
    parts = time_parts(segment.n_samples, guard, config.split)
    if min(part.stop - part.start for part in parts.values()) < config.window_samples:
        smallest = min(config.split.train, config.split.validation, config.split.test)
        needed_s = (config.window_samples / smallest + 2 * guard) / config.rate_hz
        raise DataError(
            f"too few windows: {segment.source} has {segment.n_samples / config.rate_hz:.1f} s, and splitting it in "
            f"time with guard gaps needs {needed_s:.1f} s; give more recordings or a shorter window"
        )
    return {use: _slice(segment, part.start, part.stop, config.rate_hz) for use, part in parts.items()}


def _slice(segment: Segment, start: int, stop: int, rate_hz: float) -> Segment:
    """Return the samples from `start` to before `stop` as a segment."""
    peaks = segment.r_peaks_s
    if peaks is not None:
        peaks = peaks[(peaks >= start / rate_hz) & (peaks < stop / rate_hz)] - start / rate_hz
    # Views, not copies: prepared recordings are read-only and may be mapped into memory.
    return replace(
        segment, signals=segment.signals[:, start:stop], in_band=segment.in_band[start:stop], r_peaks_s=peaks
    )
