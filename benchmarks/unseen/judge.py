"""Judge runs on whole recordings of hearts and vehicles that they never heard, as `drivebeat apply` estimates them.

    python -m benchmarks.unseen RUN [RUN ...] [--data RECORDINGS.yaml] [--recordings 8] [--adapt STEPS] [-o OUT]

The hearts and vehicles are those of recordings.yaml beside this file. Each heart of each kind is mixed with each
vehicle, both whole, up to 30 s of them; the place in the vehicle's ride is drawn from a seed. The level of the vehicle
is set by the in-band power of what is mixed, and the mixture is not band-passed, as a recording is not. A run estimates
the whole mixture at once; estimates and classical methods are scored in windows of 5.12 s, against the clean recording
band-passed as the run does it, without phase or as the signal arrives. Beside the SNRs stands the
clean recording itself, to which nothing was added. A table by kind of heart, one by vehicle, and the means; the
interval of a mean draws recordings. The beats of the whole mixtures have a table of their own: usable time, the share
of it that is wrong, F1 of beats and calibration error. Several runs, of different seeds say, have a row of their mean
too. OUT gets all values as unseen.csv.
"""

import argparse
import csv
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from data.config import HEART_BAND_HZ, MEASURED_HZ, BandPhase, DataConfig, Source
from data.corpus import Segment, find, load
from data.ecg import heart_rate_bpm
from data.files import atomic
from data.filters import bandpass
from data.mixing.mixture import HeldOut
from data.recording import Recording
from data.streaming import forward_bandpass
from training.decode import decode
from training.denoising.adapt import adapted
from training.denoising.denoise import Denoiser, denoise_and_hear, load_denoiser
from training.evaluation.intervals import bootstrap_mean
from training.evaluation.scores import CLEAN_LIMIT_DB, classical_rows, values_by_window
from training.evaluation.whole import COLUMNS, Cases, cases_of, evidence_of, joined, scores_of, truth_of
from training.pretrained import run_folder
from training.report import snr_heading
from training.sounds import SoundFrames, heart_trace, rhythm_of

RECORDINGS = Path(__file__).with_name("recordings.yaml")
RATE_HZ = 250.0
WINDOW = 1280
LONGEST_S = 30.0
SNRS_DB = (-10.0, -5.0, 0.0, 5.0)
SCORES = ("si_sdr_db", "hr_within_5_bpm", "event_f1")
ROWS = ("identity", "wiener", "nlms", "oracle")
ALL_RUNS = "mean of the runs"


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """A heart mixed with a vehicle at every SNR; the last entry is the clean recording.

    noisy: float32[snr, channel, time], as recorded. in_band: the same, band-passed. noise: float32[snr, time], in band.
    clean: float32[time] in band, by the phase of the band-pass (data.config.DataConfig.band_phase).
    """

    kind: str
    vehicle: str
    heart: Segment
    noisy: NDArray[np.float32]
    in_band: NDArray[np.float32]
    clean: Mapping[BandPhase, NDArray[np.float32]]
    noise: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The beats that a run found in a mixture, against those of the clean recording."""

    run: str
    vehicle: str
    snr_db: float
    cases: Cases


@dataclass(frozen=True, slots=True)
class Value:
    """A score of one window; snr_db is infinite for the clean recording."""

    kind: str
    vehicle: str
    recording: str
    method: str
    snr_db: float
    score: str
    value: float


def main(arguments: list[str]) -> None:
    """Judge, print the tables, and write the values."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=RECORDINGS)
    parser.add_argument("--recordings", type=int, default=8, help="of each kind of heart, at most; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window-s", type=float, help="length of the windows that `apply` joins")
    parser.add_argument(
        "--adapt", type=int, default=0, help="steps of training on each mixture, see training.denoising"
    )
    parser.add_argument("-o", "--out", type=Path)
    o = parser.parse_args(arguments)
    denoisers = {str(folder): load_denoiser(run_folder(folder), threads=1) for folder in o.runs}
    values: list[Value] = []
    cases: list[Found] = []
    for mixed in mixtures(o.data, o.recordings, o.seed):
        values += judged(mixed, denoisers, o.window_s, o.adapt, cases)
    if len(denoisers) > 1:
        values += [dataclasses.replace(value, method=ALL_RUNS) for value in values if value.method in denoisers]
    if o.out is not None:
        o.out.mkdir(parents=True, exist_ok=True)
        write(values, o.out / "unseen.csv")
    for title, key in (("kind of heart", "kind"), ("vehicle", "vehicle"), ("all", "")):
        print(f"\nBy {title}: {' / '.join(SCORES)}\n" if key else "\nMean of all\n")
        print("\n".join(table(values, key)))
    print(f"\nBeats: {' / '.join(COLUMNS)}\n")
    print("\n".join(beats_table(cases, denoisers)))


def mixtures(file: Path, n_most: int, seed: int) -> Iterator[Mixed]:
    """Yield each heart with each vehicle that `file` lists.

    n_most: recordings of each kind of heart, evenly chosen from all; 0 takes all.
    """
    document = yaml.safe_load(file.read_text())
    hearts, vehicles = (
        {name: decode(Source, {**values, "use": "test"}, f"{file}: {name}") for name, values in document[side].items()}
        for side in ("hearts", "vehicles")
    )
    config = DataConfig(tuple(hearts.values()), tuple(vehicles.values()), rate_hz=RATE_HZ, window_samples=WINDOW)
    # a model band-passes what it gets; recordings that were band-passed before would be so twice
    config = dataclasses.replace(config, band_hz=None)
    split = load(config, needed=("test",)).splits["test"]
    rides = {name: of(source, split.noise) for name, source in vehicles.items()}
    for kind, source in hearts.items():
        found = of(source, split.clean)
        n = min(n_most or len(found), len(found))
        for number, i in enumerate(np.linspace(0, len(found) - 1, n).round().astype(int)):
            for place, (vehicle, own) in enumerate(rides.items()):
                rng = np.random.default_rng([seed, number, place])
                yield mixed(kind, vehicle, found[i], own[rng.integers(len(own))], rng)


def of(source: Source, segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments of a source, in the order of their files."""
    files = find(source)
    return sorted((segment for segment in segments if segment.source in files), key=lambda segment: segment.source)


def mixed(kind: str, vehicle: str, heart: Segment, ride: Segment, rng: np.random.Generator) -> Mixed:
    """Mix the beginning of a heart with a random stretch of a ride."""
    n = min(heart.n_samples, ride.n_samples, round(LONGEST_S * RATE_HZ))
    start = int(rng.integers(ride.n_samples - n + 1))
    clean, noise = heart.signals[:, :n], ride.signals[:, start : start + n]
    heart_in_band, ride_in_band = (bandpass(signals, RATE_HZ, *HEART_BAND_HZ) for signals in (clean, noise))
    powers = [float(np.mean(np.square(signals[0], dtype=float))) for signals in (heart_in_band, ride_in_band)]
    level = math.sqrt(powers[0] / powers[1])
    gains = np.array([*(level * 10 ** (-snr_db / 20) for snr_db in SNRS_DB), 0.0], dtype=np.float32)[:, None, None]
    return Mixed(
        kind,
        vehicle,
        heart,
        (clean + gains * noise).astype(np.float32),
        (heart_in_band + gains * ride_in_band).astype(np.float32),
        {"zero": heart_in_band[0], "minimum": forward_bandpass(clean, RATE_HZ, *HEART_BAND_HZ)[0]},
        gains[:, 0] * ride_in_band[0],
    )


def judged(
    given: Mixed,
    denoisers: Mapping[str, Denoiser],
    window_s: float | None,
    n_steps: int = 0,
    heard: list[Found] | None = None,
) -> list[Value]:
    """Return the scores of each run and each classical method in each window.

    n_steps: of training on each mixture before it is estimated. heard: gets the beats.
    """
    n_windows = len(given.clean["zero"]) // WINDOW
    windows = held_out_of(given, n_windows)
    found: dict[str, NDArray[np.float32]] = {}
    truth = None if heard is None else truth_of(given.clean["zero"], RATE_HZ, given.heart.r_peaks_s)
    for name, denoiser in denoisers.items():
        estimates = []
        for snr_db, noisy in zip(windows.snrs_db, given.noisy, strict=True):
            own, sounds = estimate(denoiser, noisy, window_s, n_steps)
            estimates.append(own)
            if heard is not None:
                is_network = evidence_of(denoiser.model, denoiser.calibration) == "network"
                rhythm = rhythm_of(heart_trace(own, RATE_HZ), MEASURED_HZ, sounds if is_network else None)
                heard.append(Found(name, given.vehicle, snr_db, cases_of(rhythm, truth)))
        whole = np.stack(estimates)
        found[name] = whole[:, : n_windows * WINDOW].reshape(len(whole), n_windows, WINDOW)
    found |= {name: row for name, row in classical_rows(windows, None).items() if name in ROWS}
    recording = f"{given.heart.source}"
    phases = {name: denoiser.run.data.band_phase for name, denoiser in denoisers.items()}
    windows_of = {name: held_out_of(given, n_windows, phase) for name, phase in phases.items()}
    values = []
    for score in SCORES:
        rows = {name: values_by_window(score, windows_of.get(name, windows), row) for name, row in found.items()}
        for method, by_window in rows.items():
            for snr_db, row in zip(windows.snrs_db, by_window, strict=True):
                values += [Value(given.kind, given.vehicle, recording, method, snr_db, score, v) for v in row.tolist()]
    return values


def estimate(
    denoiser: Denoiser, noisy: NDArray[np.float32], window_s: float | None, n_steps: int = 0
) -> tuple[NDArray[np.float32], SoundFrames | None]:
    """Return the estimate float32[time] of noisy float32[channel, time], and the sounds found in it.

    A model takes the first channels. n_steps: of training on the mixture.
    """
    noisy = noisy[: denoiser.run.data.n_channels]
    channels = tuple(f"c{i}" for i in range(len(noisy)))
    signals = noisy + np.float32(1e-9) * np.arange(noisy.shape[1], dtype=np.float32)  # no channel may be constant
    recording = Recording(signals, RATE_HZ, channels, Path("mixture"))
    found, sounds = denoise_and_hear(adapted(denoiser, recording, n_steps), recording, window_s)
    return found.signals[0], sounds


def held_out_of(given: Mixed, n_windows: int, phase: BandPhase = "zero") -> HeldOut:
    """Return the windows of a mixture. phase: of the band-pass of the clean ones."""
    cut = slice(0, n_windows * WINDOW)
    peaks = given.heart.r_peaks_s
    rates = np.full(n_windows, np.nan)
    if peaks is not None:
        for i in range(n_windows):
            rates[i] = heart_rate_bpm(peaks[(peaks >= i * WINDOW / RATE_HZ) & (peaks < (i + 1) * WINDOW / RATE_HZ)])
    n_snrs, n_channels, _ = given.in_band.shape
    noisy = given.in_band[..., cut].reshape(n_snrs, n_channels, n_windows, WINDOW).transpose(0, 2, 1, 3)
    return HeldOut(
        noisy=noisy,
        clean=given.clean[phase][cut].reshape(n_windows, WINDOW),
        noise=given.noise[:, cut].reshape(n_snrs, n_windows, WINDOW),
        snrs_db=(*SNRS_DB, math.inf),
        reference_bpm=rates,
        recording=np.zeros(n_windows, np.int64),
        rate_hz=RATE_HZ,
        in_band=True,
    )


def table(values: Sequence[Value], key: str) -> list[str]:
    """Return the lines of a table in Markdown: a row for each part and method, a column for each SNR."""
    snrs_db = (*SNRS_DB, math.inf)
    lines = [
        f"| {key or 'all'} | method | " + " | ".join(map(snr_heading, snrs_db)) + " |",
        "|" + "---|" * (len(snrs_db) + 2),
    ]
    parts = list(dict.fromkeys(getattr(v, key) for v in values)) if key else ["all"]
    for part in parts:
        own = [v for v in values if not key or getattr(v, key) == part]
        for method in dict.fromkeys(v.method for v in own):
            cells = [cell([v for v in own if v.method == method and v.snr_db == snr_db]) for snr_db in snrs_db]
            lines.append(f"| {part} | {method} | " + " | ".join(cells) + " |")
    return lines


def beats_table(heard: Sequence[Found], denoisers: Mapping[str, Denoiser]) -> list[str]:
    """Return the lines of a table in Markdown: a row for each run and vehicle, a column for each SNR."""
    snrs_db = (*SNRS_DB, math.inf)
    lines = [
        "| run | vehicle | " + " | ".join(map(snr_heading, snrs_db)) + " |",
        "|" + "---|" * (len(snrs_db) + 2),
    ]
    vehicles = list(dict.fromkeys(one.vehicle for one in heard))
    for run, denoiser in denoisers.items():
        for vehicle in (*vehicles, "all"):
            cells = []
            for snr_db in snrs_db:
                own = [h.cases for h in heard if h.run == run and h.snr_db == snr_db and vehicle in ("all", h.vehicle)]
                found = scores_of(joined(own), denoiser.calibration)
                cells.append(" / ".join(f"{found[column]:.2f}" for column in COLUMNS))
            lines.append(f"| {run} | {vehicle} | " + " | ".join(cells) + " |")
    return lines


def mean(values: Sequence[Value], score: str) -> float:
    """Return the mean of a score."""
    return float(limited([v for v in values if v.score == score]).mean())


def limited(values: Sequence[Value]) -> NDArray[np.float64]:
    """Return the values float64[value], within the limits of a level in dB that still tells something."""
    numbers = np.array([v.value for v in values], dtype=float)
    return numbers.clip(-CLEAN_LIMIT_DB, CLEAN_LIMIT_DB)


def cell(values: Sequence[Value]) -> str:
    """Return the means of the scores, the first with its interval."""
    if not values:
        return "-"
    shown: list[str] = []
    for score in SCORES:
        own = [v for v in values if v.score == score]
        numbers = limited(own)
        owners = np.unique([v.recording for v in own], return_inverse=True)[1]
        found = bootstrap_mean(numbers, owners.astype(np.int64))
        shown.append(f"{found.mean:.1f} ({found.low:.1f} ... {found.high:.1f})" if not shown else f"{found.mean:.2f}")
    return " / ".join(shown)


def write(values: Sequence[Value], path: Path) -> None:
    """Write the values of all windows as CSV."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in dataclasses.fields(Value))
        writer.writerows(dataclasses.astuple(value) for value in values)
