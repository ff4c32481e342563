"""Make data/sample/drive_60km.wav, the generated recording that comes with Drivebeat.

    python -m scripts.sample [FOLDER]

Half a minute of a drive at 60 km/h: three channels at 250 Hz, 16 bits, so that the file is small. The seed is that of a
drive in which the pretrained model hears the heart; its card says in how many it does.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import resample_poly

from data.files import atomic
from data.synthetic.recordings import SynthConfig, simulate

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
NAME = "drive_60km.wav"
CONFIG = SynthConfig(seed=12, minutes=0.5, speeds_kmh=(60,))
RATE_HZ, EVERY, N_CHANNELS = 250, 4, 3


def sample() -> NDArray[np.int16]:
    """Return the recording int16[time, channel]; its largest magnitude is 32,000."""
    recording, _ = simulate(CONFIG, CONFIG.speeds_kmh[0])
    signals = resample_poly(recording.signals[:N_CHANNELS].astype(np.float64), 1, EVERY, axis=-1)
    scaled: NDArray[np.int16] = np.rint(signals.T / np.abs(signals).max() * 32_000).astype(np.int16)
    return scaled


def main(folder: Path) -> None:
    """Write the recording into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / NAME) as temporary:
        wavfile.write(temporary, RATE_HZ, sample())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
