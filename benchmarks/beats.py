"""Count heart rates and beats that are found in heart sounds with vehicle noise, against R peaks; nothing is denoised.

    python -m benchmarks.beats [--real FOLDER] [--generated N]

Hearts are generated drivers and, if FOLDER is there, the recordings with R peaks or an ECG below heart_ecg/ in it; the
vehicles are those below vehicle/, else generated drives. Each heart is mixed with noise from one vehicle; the SNR is
that in the heart's band.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import ecg
from data.corpus import HEART_BAND_HZ
from data.filters import bandpass, resample
from data.readers.read import read
from data.recording import Recording
from data.synthetic.recordings import SynthConfig, simulate
from objectives.beats import SPAN_S, find_beats
from objectives.heart import WITHIN_BPM, match_events

Samples = NDArray[np.float32]
RATE_HZ = 250.0
SNRS_DB = (np.inf, 5.0, 0.0, -5.0)
TOLERANCE_S = 0.040
# S1 follows the R peak by a delay of each person; the best of these is taken.
DELAYS_S = np.arange(0.02, 0.13, 0.01)
MIN_BEATS = 4
SPEED_KMH = 80


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


def generated(n: int, speed_kmh: int | None) -> Iterator[tuple[Recording, NDArray[np.float64]]]:
    """Generate a recording of a minute for each of n drivers, standing where the speed is None, with its R peaks."""
    for session in range(1, n + 1):
        recording, truth = simulate(SynthConfig(seed=11, minutes=1.0, sessions=n), speed_kmh, session)
        yield recording, truth.r_s


def spans_with_beats(heart: Heart) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Yield the start of each span of SPAN_S with enough R peaks, and these."""
    for start_s in np.arange(0.0, heart.signal.size / RATE_HZ, SPAN_S):
        peaks_s = heart.r_peaks_s[(heart.r_peaks_s >= start_s) & (heart.r_peaks_s < start_s + SPAN_S)]
        if peaks_s.size >= MIN_BEATS:
            yield float(start_s), peaks_s


def line(hearts: Sequence[Heart], vehicles: Sequence[Samples], snr_db: float) -> str:
    """Mix, find the beats, and return a row of the table."""
    rng = np.random.default_rng(0)
    n_spans = n_told = n_right = 0
    counts = np.zeros(3, dtype=int)
    for heart in hearts:
        noise = np.resize(vehicles[int(rng.integers(len(vehicles)))], heart.signal.size)
        found = find_beats(heart.signal + 10 ** (-snr_db / 20) * np.roll(noise, int(rng.integers(noise.size))), RATE_HZ)
        rates_bpm = {span.start_s: span.heart_rate_bpm for span in found.spans}
        in_told = [np.empty(0)]
        for start_s, peaks_s in spans_with_beats(heart):
            n_spans += 1
            rate_bpm = rates_bpm.get(start_s)
            if rate_bpm is not None:
                n_told += 1
                n_right += abs(rate_bpm - 60 / float(np.median(np.diff(peaks_s)))) < WITHIN_BPM
                in_told.append(peaks_s)
        expected_s = np.concatenate(in_told)
        counts += max(match_events(expected_s + delay_s, found.times_s, TOLERANCE_S) for delay_s in DELAYS_S)
    n_matched, n_extra, n_missed = counts
    f1 = 2 * n_matched / max(1, 2 * n_matched + n_extra + n_missed)
    shown = "clean" if np.isinf(snr_db) else f"{snr_db:g} dB"
    return f"| {shown} | {n_told} of {n_spans} | {n_right} | {f1:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/realdata"), help="folder of real recordings")
    parser.add_argument("--generated", type=int, default=12, metavar="N", help="generated drivers")
    options = parser.parse_args()
    hearts = [Heart(prepared(recording), peaks_s) for recording, peaks_s in generated(options.generated, None)]
    real = list(real_hearts(options.real))
    files = sorted((options.real / "vehicle").glob("*.npz"))
    vehicles = [prepared(read(path)) for path in files] or [prepared(r) for r, _ in generated(4, SPEED_KMH)]
    print(
        f"{len(hearts)} generated and {len(real)} real hearts, {len(vehicles)} vehicles; 10 s with {MIN_BEATS} R peaks"
    )
    print(
        f"\n| SNR | spans with a heart rate | within {WITHIN_BPM:g} bpm | F1 of the beats in them |\n|---|---|---|---|"
    )
    for snr_db in SNRS_DB:
        print(line([*hearts, *real], vehicles, snr_db), flush=True)
    alone = [span for vehicle in vehicles for span in find_beats(vehicle, RATE_HZ).spans]
    print(f"| vehicle alone | {sum(s.heart_rate_bpm is not None for s in alone)} of {len(alone)} | - | - |")


if __name__ == "__main__":
    main()
