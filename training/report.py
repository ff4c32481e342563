"""EpochReport: what one epoch of a run came to, as the trainer tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to.

    n_epochs: as many as the run may have; `last` tells whether another one follows. score: fit.score, mean over the
    validation SNRs; by_snr has it for each of them. best_score, best_epoch: over the epochs after the ramps' end,
    None before. snr_db: mean in-band SNR of the epoch's training mixtures, infinite at gain 0. precision: of the
    arithmetic. output_db, input_likeness: of the validation estimates (training.collapse). collapsed: why the run's
    output is of no use any more, else "". stopped: why the run ends before n_epochs, else "".

    The fields with defaults are missing in the checkpoints of earlier versions.
    """

    epoch: int
    n_epochs: int
    loss: float
    score: float
    by_snr: dict[str, float]
    best_score: float | None
    best_epoch: int | None
    learning_rate: float
    gain: float
    peak_share: float
    snr_db: float
    n_windows: int
    seconds: float
    precision: str = ""
    output_db: float | None = None
    input_likeness: float | None = None
    collapsed: str = ""
    stopped: str = ""

    @property
    def last(self) -> bool:
        """Whether the run ends with this epoch."""
        return bool(self.stopped) or self.epoch + 1 == self.n_epochs


def shown_snr(snr_db: float) -> str:
    """An SNR in dB as people read it: -5, 0, +5. The keys of by_snr say +0."""
    return f"{snr_db:+g}" if snr_db else "0"
