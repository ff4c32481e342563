"""Count the heart rates and beats that the decoder (objectives/rhythm) finds, and how sure it is; nothing is denoised.

    python -m benchmarks.rhythm [--real FOLDER] [--generated N] [--seeds K]

The evidence is that of the envelope (objectives/rhythm/frames.py). The probability from which on a span is sure, and
the calibration, come from generated hearts in generated vehicles. The figures are those of other generated hearts and
of the recordings with R peaks or an ECG below heart_ecg/ in FOLDER, in the vehicles below vehicle/ there. Each heart is
mixed with K excerpts of noise. The SNR is that in the heart's band.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import ecg
from data.config import HEART_BAND_HZ
from data.filters import bandpass, resample
from data.readers.read import read
from data.recording import Recording
from data.synthetic.recordings import SynthConfig, simulate
from objectives.heart import WITHIN_BPM
from objectives.rhythm.confidence import (
    MAX_WRONG,
    Calibrator,
    calibrator,
    reliability,
    threshold_for,
    usable_time,
)
from objectives.rhythm.decode import Rhythm
from objectives.rhythm.frames import FRAME_HZ, targets
from training.evaluation.whole import Cases, cases_of, joined, truth_of
from training.sounds import rhythm_of

Samples = NDArray[np.float32]
RATE_HZ = 250.0
SNRS_DB = (np.inf, 5.0, 0.0, -5.0, -10.0)
SPEEDS_KMH = (30, 50, 80, 100)
# Minutes of vehicles alone for each heart of the validation.
QUIET_SHARE = 5


@dataclass(frozen=True, slots=True, eq=False)
class Heart:
    """A heart at rest: signal[time] in the band, with an RMS of 1, and its R peaks in s."""

    signal: Samples
    r_peaks_s: NDArray[np.float64]


def prepared(recording: Recording) -> Samples:
    """Return the first channel at RATE_HZ in the heart's band, with an RMS of 1."""
    rows = bandpass(resample(recording.signals[:1], recording.rate_hz, RATE_HZ), RATE_HZ, *HEART_BAND_HZ)
    scaled: Samples = rows[0] / float(np.sqrt(np.mean(np.square(rows[0], dtype=np.float64))))
    return scaled


def real_hearts(folder: Path) -> Iterator[Heart]:
    """Read the heart recordings with R peaks or an ECG below `folder`."""
    for path in sorted((folder / "heart_ecg").rglob("*")):
        beside = path.with_name(path.name.replace("_PCG", "_ECG"))
        if path.suffix not in (".npz", ".wav") or "_ECG" in path.name:
            continue
        recording = read(path, ecg=beside if beside != path and beside.exists() else None)
        peaks_s = ecg.beats(recording)
        if peaks_s is not None and not ecg.problem_of(peaks_s, recording.duration_s):
            yield Heart(prepared(recording), peaks_s)


def found_in(signal: Samples) -> Rhythm:
    return rhythm_of(signal, RATE_HZ, None)


def mixtures(
    hearts: Sequence[Heart], vehicles: Sequence[Samples], snr_db: float, n: int
) -> Iterator[tuple[Heart, Samples]]:
    """Mix each heart n times with noise from a vehicle."""
    rng = np.random.default_rng(0)
    for heart in hearts:
        for _ in range(1 if np.isinf(snr_db) else n):
            noise = vehicles[int(rng.integers(len(vehicles)))]
            noise = np.resize(np.roll(noise, int(rng.integers(noise.size))), heart.signal.size)
            yield heart, heart.signal + 10 ** (-snr_db / 20) * noise


def cases_at(hearts: Sequence[Heart], vehicles: Sequence[Samples], snr_db: float, n: int) -> Cases:
    return joined(
        cases_of(found_in(signal), truth_of(heart.signal, RATE_HZ, heart.r_peaks_s))
        for heart, signal in mixtures(hearts, vehicles, snr_db, n)
    )


def line(snr_db: float | None, cases: Cases, threshold: float, calibrate: Calibrator) -> str:
    """Return a row of the table."""
    p, right = cases.span_p, cases.span_right
    usable = usable_time(p, right, threshold)
    shown = "all" if snr_db is None else "clean" if np.isinf(snr_db) else f"{snr_db:g} dB"
    cells = [shown, f"{right.mean():.2f}", f"{cases.f1:.3f}"]
    cells += [f"{100 * usable.share:.0f} %", f"{100 * usable.wrong:.1f} %" if usable.share else "-"]
    found = [reliability(cases.beat_p, cases.beat_right), reliability(p, right), reliability(calibrate(p), right)]
    return f"| {' | '.join([*cells, *(f'{one.error:.3f}' for one in found)])} |"


def generated_hearts(n: int, seed: int) -> list[Heart]:
    """Generate a recording of a minute at rest for each of n drivers."""
    made = (simulate(SynthConfig(seed=seed, minutes=1.0, sessions=n), None, session) for session in range(1, n + 1))
    return [Heart(prepared(recording), truth.r_s) for recording, truth in made]


def generated_vehicles(n: int, seed: int) -> list[Samples]:
    """Generate n drives of a minute, without the driver's heart."""
    vehicles = []
    for session in range(1, n + 1):
        config = SynthConfig(seed=seed, minutes=1.0, sessions=n)
        recording, truth = simulate(config, SPEEDS_KMH[session % len(SPEEDS_KMH)], session)
        noise = recording.signals[:1] - truth.heart
        vehicles.append(prepared(replace(recording, signals=noise, channels=recording.channels[:1])))
    return vehicles


def agreement(hearts: Sequence[Heart]) -> str:
    """Compare training targets by R peaks with those by sound alone, on the clean recordings."""
    shares, same = [], []
    for heart in hearts:
        by_ecg, by_sound = (targets(heart.signal, RATE_HZ, FRAME_HZ, peaks_s) for peaks_s in (heart.r_peaks_s, None))
        known = [np.isfinite(rows[:, 0]) for rows in (by_ecg, by_sound)]
        shares.append([row.mean() for row in known])
        same.append((by_ecg.argmax(axis=1) == by_sound.argmax(axis=1))[known[0] & known[1]].mean())
    ecg_share, sound_share = np.mean(shares, axis=0)
    equal = f"{100 * np.mean(same):.1f} % of the frames have one class (least {100 * min(same):.1f} %)"
    known_words = f"known by R peaks {100 * ecg_share:.0f} % of the time, by sound {100 * sound_share:.0f} %"
    return f"{known_words}; where both are, {equal}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/realdata"), help="folder of real recordings")
    parser.add_argument("--generated", type=int, default=12, metavar="N", help="generated drivers")
    parser.add_argument("--seeds", type=int, default=4, metavar="K", help="excerpts of noise for each heart")
    options = parser.parse_args()
    hearts = {seed: generated_hearts(options.generated, seed) for seed in (11, 12)}
    drives = generated_vehicles(QUIET_SHARE * options.generated, 13)
    # Validation: all SNRs together, as nobody knows that of a recording, and vehicles alone, where every rate is wrong.
    validation = joined(
        [
            *(cases_at(hearts[12], drives, snr_db, options.seeds) for snr_db in (*SNRS_DB, -15.0)),
            *(cases_of(found_in(vehicle), None) for vehicle in drives),
        ]
    )
    threshold = threshold_for(validation.span_p, validation.span_right)
    calibrate = calibrator(validation.span_p, validation.span_right)
    promise = f"at most {100 * MAX_WRONG:g} % of the sure ones are wrong among {validation.span_p.size} spans"
    print(f"sure from a probability of {threshold:.3f} on: {promise} of the validation")
    files = sorted((options.real / "vehicle").glob("*.npz"))
    vehicles = [prepared(read(path)) for path in files] or drives
    sets = {"generated hearts": hearts[11], "real hearts": list(real_hearts(options.real))}
    for title, chosen in sets.items():
        if not chosen:
            continue
        print(f"\n{len(chosen)} {title} in {len(vehicles)} {'real' if files else 'generated'} vehicles:\n")
        head = ["SNR", f"rate within {WITHIN_BPM:g} bpm, of all spans", "F1 of beats, +-60 ms", "sure spans"]
        head += ["wrong of these", "calibration error: beats", "spans", "spans, calibrated"]
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        rows = {snr_db: cases_at(chosen, vehicles, snr_db, options.seeds) for snr_db in SNRS_DB}
        for snr_db, cases in (*rows.items(), (None, joined(rows.values()))):
            print(line(snr_db, cases, threshold, calibrate), flush=True)
    alone = joined(cases_of(found_in(vehicle), None) for vehicle in vehicles)
    n_sure = int((alone.span_p >= threshold).sum())
    print(f"\nvehicles alone: {n_sure} of {alone.span_p.size} spans are sure")
    for title, chosen in sets.items():
        if chosen:
            print(f"labels of {title}: {agreement(chosen)}")


if __name__ == "__main__":
    main()
