"""Make the figure and the two sounds at the top of README.md: the shipped drive before and after the pretrained model.

    python -m scripts.front_page [FOLDER]

Runs `drivebeat apply pretrained data/sample/drive_60km.wav`, and writes into docs/ the same seconds of the recording
and of the estimate. The sounds are raised in pitch, because small loudspeakers do not reproduce 25-55 Hz.
docs/sound/made_from.json has the SHA-256 of the weights and of the recording, by which a test sees that both still are
those of the repository, and what the command printed about the beats.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from data.config import MEASURED_HZ
from data.files import atomic
from data.recording import Signal
from scripts.sample import NAME, SAMPLE
from tests.support.program import ROOT, command, environment
from training.evaluation.figures import COLOURS
from training.evaluation.showcase import PITCH_FACTOR, audible, save
from training.pretrained import pretrained
from training.sounds import heart_trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE, BEFORE, AFTER, SOURCES = "img/before_after.png", "sound/before.wav", "sound/after.wav", "sound/made_from.json"
SHOWN_S = (5.0, 20.0)  # the noise rises at 15 s; the heart rate is sure until 20 s
SOUND_RATE_HZ = 4000  # the highest raised frequency is 330 Hz
FADE_S = 0.05
DARK_GREY = "#5b6068"  # text on white, where the line's grey would be faint
WEIGHTS = "weights.safetensors"


def main(folder: Path) -> None:
    """Write the figure, the sounds and what they were made from into `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        estimate = Path(temporary) / "estimate.wav"
        done = subprocess.run(
            command("apply", "pretrained", str(SAMPLE / NAME), "-o", str(estimate), "--json"),
            env=environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = json.loads(done.stdout)
        beats = np.genfromtxt(estimate.with_suffix(".beats.csv"), delimiter=",", names=True)
        before, after = shown(SAMPLE / NAME), shown(estimate)
    for name in (FIGURE, BEFORE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    draw(before, after, beats, folder / FIGURE)
    for name, trace in ((BEFORE, before), (AFTER, after)):
        write(trace, folder / name)
    with atomic(folder / SOURCES) as file:
        file.write_text(json.dumps({**sources(), **facts(said)}, indent=2) + "\n", encoding="utf-8")


def sources() -> dict[str, Any]:
    """Return what the sounds are made from: digests of weights and recording, seconds, factor of the pitch."""
    return {
        "weights_sha256": digest(pretrained()[0].folder / WEIGHTS),
        "recording_sha256": digest(SAMPLE / NAME),
        "seconds": list(SHOWN_S),
        "pitch_factor": PITCH_FACTOR,
    }


def facts(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that README.md states, from what `apply --json` says of the recording."""
    heart_rate = said["heart_rate"]
    return {
        "heart_rate_bpm": round(heart_rate["bpm"]),
        "n_beats": heart_rate["n_beats"],
        "sure_s": round(heart_rate["known_s"]),
        "duration_s": round(said["seconds"]),
    }


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shown(path: Path) -> Signal:
    """Return the shown seconds of the first channel of a WAV in the heart's band, float32[time] at MEASURED_HZ."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    start, end = (round(at_s * MEASURED_HZ) for at_s in SHOWN_S)
    return heart_trace(samples[:, 0], rate_hz)[start:end]


def write(trace: Signal, path: Path) -> None:
    """Write trace[time] raised in pitch, at SOUND_RATE_HZ and 16 bits, with both ends faded."""
    raised = audible(trace, MEASURED_HZ)[::2]  # from 8,000 Hz; nothing is above 330 Hz
    n = round(FADE_S * SOUND_RATE_HZ)
    raised[:n] *= np.linspace(0, 1, n, dtype=np.float32)
    raised[-n:] *= np.linspace(1, 0, n, dtype=np.float32)
    with atomic(path) as temporary:
        soundfile.write(str(temporary), raised, SOUND_RATE_HZ, subtype="PCM_16", format="WAV")


def draw(before: Signal, after: Signal, beats: NDArray[np.void], path: Path) -> None:
    """Draw both traces [time], one above the other, with S1 and S2 marked as they were found."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained", dpi=130)
    above, below = figure.subplots(2, 1, sharex=True)
    _trace(above, before, COLOURS["noisy"], "sensor, generated drive at 60 km/h", label=DARK_GREY)
    _trace(below, after, COLOURS["estimate"], "estimate: S1 ▼ and S2 ▲, faint where not sure")
    top = 1.16 * float(np.max(np.abs(after)))
    for name, mark in (("time_s", "v"), ("s2_s", "^")):
        opacity = np.clip(np.nan_to_num(beats["probability"]), 0.15, 1)
        below.scatter(
            beats[name], np.full(beats.size, top), marker=mark, s=60, color=COLOURS["estimate"], alpha=opacity
        )
    below.set_xlim(*SHOWN_S)
    below.set_xlabel("time in s", fontsize=22)
    below.tick_params(labelsize=22)
    save(figure, path, dpi=130)


def _trace(axis: "Axes", trace: Signal, colour: str, title: str, label: str = "") -> None:
    """Draw a trace [time] without a scale: the two differ in level. label: colour of the title, if not the line's."""
    axis.plot(SHOWN_S[0] + np.arange(trace.size) / MEASURED_HZ, trace, color=colour, linewidth=1)
    peak = float(np.max(np.abs(trace)))
    axis.set_ylim(-1.1 * peak, 1.35 * peak)
    axis.set_yticks([])
    axis.set_title(title, fontsize=23, loc="left", color=label or colour)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
