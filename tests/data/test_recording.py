"""A recording shows what it is without its samples."""

from pathlib import Path

import numpy as np

from data.recording import Recording


def recording(n_channels: int, **more: object) -> Recording:
    signals = np.arange(2.0 * n_channels * 500, dtype=np.float32).reshape(n_channels, -1)
    names = tuple(f"ch{i + 1}" for i in range(n_channels))
    return Recording(signals, 250.0, names, Path("drives/drive.wav"), **more)  # type: ignore[arg-type]


def test_its_text_names_file_channels_duration_and_rate_and_no_samples() -> None:
    assert repr(recording(2)) == "Recording(drive.wav: ch1, ch2; 4.0 s at 250 Hz)"
    whole = recording(
        1,
        ecg=np.arange(100, dtype=np.float32),
        ecg_rate_hz=125.0,
        r_peaks_s=np.array([0.5, 1.5]),
        notes=("a", "b"),
    )
    assert repr(whole) == "Recording(drive.wav: ch1; 4.0 s at 250 Hz; ECG at 125 Hz; 2 R peaks; 2 notes)"


def test_of_many_channels_it_names_a_few_and_escapes_what_a_terminal_obeys() -> None:
    assert "ch8 and 12 more;" in repr(recording(20))
    odd = Recording(np.ones((1, 9), np.float32), 250.0, ("a\x1b[2J",), Path("b\n.wav"))
    assert repr(odd) == "Recording(b\\n.wav: a\\x1b[2J; 0.0 s at 250 Hz)"
