"""Write TensorBoard event files: curves, the run's config as text, figures, sounds. Needs the extra `tensorboard`."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import soundfile
import yaml

from training.config import RunConfig, to_document
from training.plugins.plugin import referenced
from training.report import EpochReport
from training.trackers.base import Tracker, TrackerTarget, curves

FOLDER = "tensorboard"


class TensorBoardTracker(Tracker):
    """Write to the subfolder `tensorboard` of the run's folder; show it with `tensorboard --logdir FOLDER`.

    Raises ImportError if tensorboard is not installed.
    """

    def __init__(self, target: TrackerTarget) -> None:
        if find_spec("tensorboard") is None:
            raise ImportError("no module tensorboard")
        self._folder = target.folder / FOLDER
        self._writer: Any = None

    def start(self, run: RunConfig, name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # raised by the packages that TensorBoard imports
            from torch.utils.tensorboard import SummaryWriter
        # A resumed run reports its earlier epochs again, so entries of earlier files are discarded.
        self._writer = SummaryWriter(str(self._folder), purge_step=0)
        text = yaml.safe_dump(referenced(to_document(run)), sort_keys=False)
        self._writer.add_text("run", f"{name}\n\n```yaml\n{text}```", 0)

    def report(self, report: EpochReport) -> None:
        for name, value in curves(report).items():
            self._writer.add_scalar(name, value, report.epoch)
        self._writer.flush()

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if path.suffix == ".png":
                picture = np.asarray(matplotlib.image.imread(path))[..., :3]
                self._writer.add_image(path.stem, picture, 0, dataformats="HWC")
            elif path.suffix == ".wav":
                sound, rate_hz = soundfile.read(path, dtype="float32")
                self._writer.add_audio(path.stem, sound[None], 0, sample_rate=rate_hz)

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._writer.add_text("summary", "\n\n".join(f"{key}: {value}" for key, value in summary.items()), 0)
        self._writer.close()
