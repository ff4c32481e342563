"""Recordings read, resampled, band-passed and dealt into train, validation and test."""

import glob
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from data.config import DataConfig, Source, SplitConfig
from data.ecg import beats
from data.filters import bandpass, resample
from data.read import read
from data.recording import DataError, Recording, Signal, frozen

SPLITS = ("train", "validation", "test")
HEART_BAND_HZ = (25.0, 55.0)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A stretch of one recording, ready to be cut into windows.

    signals: read-only float32[channel, time] at the config's rate; channel 0 is the one to clean.
    in_band: read-only float32[time], channel 0 in the heart's band: what SNRs are measured on.
    r_peaks_s: seconds from the stretch's start; None where the recording has neither annotation nor ECG.
    """

    signals: Signal
    in_band: Signal
    source: Path
    r_peaks_s: NDArray[np.float64] | None = None

    @property
    def n_samples(self) -> int:
        return int(self.signals.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    clean: tuple[Segment, ...]
    noise: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """All a run needs of its data: the three splits, the channel count and the fingerprint of what was read."""

    config: DataConfig
    splits: Mapping[str, Split]
    n_channels: int
    fingerprint: str


def load(config: DataConfig, progress: Callable[[str], None] | None = None) -> Corpus:
    """Read and prepare all recordings of `config`.

    Raises DataError for anything that cannot be used: no file for a glob, a reader's complaint, a window longer
    than a recording, a split without windows.
    """
    n_channels = max(max(len(source.channels), 1) for source in (*config.clean, *config.noise))
    digest = hashlib.sha256()
    dealt: dict[str, dict[str, list[Segment]]] = {use: {"clean": [], "noise": []} for use in SPLITS}
    for role, sources in (("clean", config.clean), ("noise", config.noise)):
        loose: list[Segment] = []
        for source in sources:
            for path in find(source):
                recording = _read(path, source)
                if progress:
                    progress(f"{role} {path}")
                digest.update(f"{role} {recording.rate_hz}".encode())
                digest.update(recording.signals.tobytes())
                segment = _prepare(recording, config, n_channels, role)
                (loose if source.use == "split" else dealt[source.use][role]).append(segment)
        for use, segments in _deal(loose, config).items():
            dealt[use][role].extend(segments)
    splits = {use: Split(tuple(roles["clean"]), tuple(roles["noise"])) for use, roles in dealt.items()}
    for use, split in splits.items():
        for role, given in (("clean", split.clean), ("noise", split.noise)):
            if not given:
                raise DataError(
                    f"too few windows: {use} has no {role} recording; give more files, "
                    'let some have use = "split", or pin one to it'
                )
    return Corpus(config, MappingProxyType(splits), n_channels, digest.hexdigest()[:16])


def find(source: Source) -> list[Path]:
    """The files of `source`, sorted, each once. Raises DataError where a glob finds nothing."""
    found: set[Path] = set()
    for pattern in source.files:
        paths = [Path(name) for name in glob.glob(str(Path(pattern).expanduser()), recursive=True)]  # noqa: PTH207
        if not paths:
            raise DataError(f"no recording matches {pattern!r} (looked from {Path.cwd()}); check the path")
        found.update(paths)
    return sorted(found)


def _read(path: Path, source: Source) -> Recording:
    ecg = None
    if source.ecg is not None:
        ecg = path.with_name(path.name.replace(source.ecg.replace, source.ecg.by))
        if ecg == path:
            raise DataError(f"{path}: its name does not hold {source.ecg.replace!r}, so its ECG cannot be found")
    recording = read(
        path,
        variable=source.variable,
        rate_hz=source.rate_hz,
        layout=source.layout,
        channels=source.channels or None,
        ecg=ecg,
    )
    if source.channels:
        return recording
    return replace(recording, signals=recording.signals[:1], channels=recording.channels[:1])


def condition(recording: Recording, config: DataConfig) -> Signal:
    """Resampled and, where the config says so, band-passed: float32[channel, time] at the config's rate."""
    signals = resample(recording.signals, recording.rate_hz, config.rate_hz)
    if config.band_hz is None:
        return signals
    return bandpass(signals, config.rate_hz, *config.band_hz)


def _prepare(recording: Recording, config: DataConfig, n_channels: int, role: str) -> Segment:
    signals = condition(recording, config)
    if signals.shape[1] < config.window_samples:
        raise DataError(
            f"{recording.source}: {signals.shape[1] / config.rate_hz:.2f} s is shorter than one window of "
            f"{config.window_samples} samples ({config.window_samples / config.rate_hz:.2f} s at {config.rate_hz:g} Hz)"
        )
    in_band = signals[0] if config.band_hz is not None else bandpass(signals[0], config.rate_hz, *HEART_BAND_HZ)
    if config.level == "unit":
        rms = float(np.sqrt(np.mean(np.square(in_band, dtype=np.float64))))
        if rms == 0:
            raise DataError(f"{recording.source}: nothing in the band; is it the right channel?")
        signals, in_band = signals / rms, in_band / rms
    missing = n_channels - signals.shape[0]
    if missing and role == "noise":
        raise DataError(
            f"{recording.source}: {signals.shape[0]} channels where {n_channels} are asked for; "
            "noise must carry every reference channel, so list them under its channels"
        )
    if missing:  # a reference that hears no heart: what a seat channel of another place would give
        signals = np.concatenate([signals, np.zeros((missing, signals.shape[1]), np.float32)])
    peaks = beats(recording) if role == "clean" else None
    return Segment(frozen(signals), frozen(in_band), recording.source, peaks)


def _deal(segments: list[Segment], config: DataConfig) -> dict[str, list[Segment]]:
    """By recording where there are at least three; else each one in time, with a guard gap between the parts."""
    if len(segments) < len(SPLITS):
        parts = [_cut(segment, config) for segment in segments]
        return {use: [part[use] for part in parts] for use in SPLITS}
    order = np.random.default_rng(config.split.seed).permutation(len(segments))
    n_validation, n_test = _counts(len(segments), config.split)
    bounds = {"validation": (0, n_validation), "test": (n_validation, n_validation + n_test)}
    bounds["train"] = (n_validation + n_test, len(segments))
    return {use: [segments[i] for i in sorted(order[slice(*bounds[use])])] for use in SPLITS}


def _counts(n: int, split: SplitConfig) -> tuple[int, int]:
    n_validation = max(1, min(n - 2, round(n * split.validation)))
    return n_validation, max(1, min(n - n_validation - 1, round(n * split.test)))


def _cut(segment: Segment, config: DataConfig) -> dict[str, Segment]:
    guard = config.window_samples
    usable = segment.n_samples - 2 * guard
    shares = {"train": config.split.train, "validation": config.split.validation, "test": config.split.test}
    shortest = int(usable * min(shares.values()))
    if shortest < config.window_samples:
        needed_s = (config.window_samples / min(shares.values()) + 2 * guard) / config.rate_hz
        raise DataError(
            f"too few windows: {segment.source} has {segment.n_samples / config.rate_hz:.1f} s, and splitting it in "
            f"time with guard gaps needs {needed_s:.1f} s; give more recordings or a shorter window"
        )
    parts, start = {}, 0
    for use, share in shares.items():
        stop = min(start + int(usable * share), segment.n_samples)
        parts[use] = _slice(segment, start, stop, config.rate_hz)
        start = stop + guard
    return parts


def _slice(segment: Segment, start: int, stop: int, rate_hz: float) -> Segment:
    peaks = segment.r_peaks_s
    if peaks is not None:
        peaks = peaks[(peaks >= start / rate_hz) & (peaks < stop / rate_hz)] - start / rate_hz
    return Segment(frozen(segment.signals[:, start:stop]), frozen(segment.in_band[start:stop]), segment.source, peaks)
