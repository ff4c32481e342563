"""Heart sounds made audible: 25-55 Hz lies under what small loudspeakers give, so the pitch is raised."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import hilbert

from data.files import atomic
from data.filters import resample

PITCH_FACTOR = 6
SOUND_RATE_HZ = 8000


def audible(signal: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    """float32[time] at SOUND_RATE_HZ, PITCH_FACTOR times as high and exactly as long in time, peak 0.9.

    The phase of the analytic signal is multiplied, its envelope kept: right for narrow-band signals, and beats stay
    where they are, which playing the file faster would not give.
    """
    fast = resample(np.asarray(signal, dtype=np.float32)[None], rate_hz, SOUND_RATE_HZ)[0]
    analytic = hilbert(fast)
    raised = np.abs(analytic) * np.cos(PITCH_FACTOR * np.unwrap(np.angle(analytic)))
    peak = np.max(np.abs(raised))
    level: NDArray[np.float32] = (0.9 * raised / peak if peak > 0 else raised).astype(np.float32)
    return level


def write_sound(signal: NDArray[np.float32], rate_hz: float, path: Path) -> None:
    """Write signal[time] as an audible 16-bit WAV."""
    with atomic(path) as temporary:
        soundfile.write(temporary, audible(signal, rate_hz), SOUND_RATE_HZ, subtype="PCM_16", format="WAV")
