"""Sentences on the harm that a model does: where it is worse than its input, and how it changes clean recordings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.corpus import Segment
from data.errors import printable
from data.mixing.mixture import HeldOut
from training.evaluation.by import unique_names
from training.evaluation.scores import CLEAN_LIMIT_DB, SCORES, Row, better, values_at
from training.hearts import contrast_db

CLOSENESS = "si_sdr_db"
# Sounds that stand so far above their floor are heard, and an estimate must keep them: at 15 dB the error has a
# thirtieth of their power.
CLEAR_CONTRAST_DB = 20.0
LEAST_CLOSENESS_DB = 15.0


@dataclass(frozen=True, slots=True)
class CleanRecording:
    """A clean recording of a held-out mixture, and how close a model's estimate of it without noise is.

    name: of its file, with as many folders as make all names differ.
    contrast_db: by how much its sounds stand above its floor, see training.hearts.contrast_db; NaN if unknown.
    closeness_db: SI-SDR, mean of its windows, at most CLEAN_LIMIT_DB.
    n_windows: of the mixture.
    """

    name: str
    contrast_db: float
    closeness_db: float
    n_windows: int

    @property
    def is_clear(self) -> bool:
        """Return whether its sounds stand so far above its floor that a model must keep them."""
        return self.contrast_db >= CLEAR_CONTRAST_DB


def worse_than_nothing(rows: Sequence[Row], method: str, scores: Sequence[str]) -> str:
    """Return a warning if `method` scores below the unchanged mixture, with the scores and SNRs; "" if it does not.

    Clean windows do not count: nothing is as good as leaving them unchanged.

    scores: names of the scores to look at.
    """
    found = []
    for score in scores:
        at = {(row.method, row.snr_db): row.scores[score] for row in rows if math.isfinite(row.snr_db)}
        snrs_db = [
            db for name, db in at if name == method and better(SCORES[score], at["identity", db], at[method, db])
        ]
        if snrs_db:
            found.append(f"{score} at {', '.join(f'{db:+g}' for db in snrs_db)} dB")
    return f"warning: {method} is worse than the noisy signal itself (identity): {'; '.join(found)}" if found else ""


def clean_recordings(
    mixture: HeldOut, estimates: NDArray[np.float32], segments: Sequence[Segment]
) -> tuple[CleanRecording, ...]:
    """Return the clean recordings of a mixture whose last SNR is infinite, with the closeness of their estimates.

    estimates: float32[snr, window, time]. segments: the clean recordings that the mixture was cut from.
    """
    names = unique_names(segments)
    values = values_at(CLOSENESS, mixture, estimates, mixture.snrs_db.index(math.inf))
    found = []
    for i in np.unique(mixture.recording):
        own = values[mixture.recording == i]
        segment = segments[i]
        contrast = contrast_db(segment.in_band, mixture.rate_hz)
        found.append(CleanRecording(names[i], contrast, float(np.mean(own)), len(own)))
    return tuple(found)


def clean_lines(recordings: Sequence[CleanRecording], method: str) -> list[str]:
    """Return a sentence on how close the estimates of clean recordings are, and a warning if clear ones are distorted.

    The mean in the sentence is over windows, as in the tables.
    """
    mean = np.average([r.closeness_db for r in recordings], weights=[r.n_windows for r in recordings])
    shown = f"within more than {CLEAN_LIMIT_DB:g} dB" if mean >= CLEAN_LIMIT_DB else f"within {mean:.1f} dB"
    clear = [recording for recording in recordings if recording.is_clear]
    n = len(recordings)
    about_clear = f"{len(clear)} of {n} clear: sounds {CLEAR_CONTRAST_DB:g} dB or more above their floor"
    lines = [f"{method} returns clean recordings {shown} (SI-SDR without noise, not in the means; {about_clear})"]
    distorted = sorted((r for r in clear if r.closeness_db < LEAST_CLOSENESS_DB), key=lambda r: r.closeness_db)
    if distorted:
        worst = distorted[0]
        lines.append(
            f"warning: {method} distorts {len(distorted)} of {len(clear)} clear recordings: less than "
            f"{LEAST_CLOSENESS_DB:g} dB; the worst is {printable(worst.name)}, {worst.closeness_db:.1f} dB"
        )
    return lines
