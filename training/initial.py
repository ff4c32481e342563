"""Where a run's weights come from: drawn at random, or another run's, with the chain of runs before it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An earlier run of the chain, as far as its folder told.

    config_sha256: of its run's document (training.lineage.config_sha256). data_fingerprint: of its recordings.
    best_score: of the weights taken, by its `score`. weights_sha256: of the file they were read from.
    """

    weights_sha256: str
    config_sha256: str = ""
    data_fingerprint: str = ""
    score: str = ""
    best_score: float | None = None


@dataclass(frozen=True, slots=True)
class InitConfig:
    """The weights a run starts from; by default those its seed draws.

    weights: a weights file (.safetensors, .pth) or a run's folder. sha256: of that file; another file of the name
    is then refused. partial: take the tensors that fit and leave the rest at random, instead of refusing. lineage:
    the runs that led here, oldest first; the last one is the weights' own.
    """

    weights: str = ""
    sha256: str = ""
    partial: bool = False
    lineage: tuple[Ancestor, ...] = ()

    def __post_init__(self) -> None:
        if not self.weights and (self.sha256 or self.lineage or self.partial):
            raise ValueError("sha256, partial and lineage go with weights; name a weights file or a run's folder")
