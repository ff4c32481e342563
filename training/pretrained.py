"""The trained models that come with Drivebeat, by name.

Each is the folder of a run in models/pretrained, with a card for people: data, licences, scores, limits. Commands take
`pretrained/NAME` wherever they take the folder of a run, and `pretrained` for the default.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.errors import NoRecording
from training.config import RUN_FILE
from training.errors import ConfigError

PRETRAINED = "pretrained"
DEFAULT = "drive"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model that comes with Drivebeat. folder: of its run. summary: the first sentence of its card."""

    name: str
    folder: Path
    summary: str

    @property
    def reference(self) -> str:
        """Return the name by which commands take it."""
        return PRETRAINED if self.name == DEFAULT else f"{PRETRAINED}/{self.name}"


def pretrained() -> tuple[Pretrained, ...]:
    """Return the models that come with Drivebeat, the default first."""
    cards = sorted(_root().glob(f"*/{CARD}"), key=lambda card: (card.parent.name != DEFAULT, card.parent.name))
    return tuple(Pretrained(card.parent.name, card.parent, _summary(card)) for card in cards)


def run_folder(path: Path) -> Path:
    """Return the folder of the pretrained model that `path` names, or `path` itself.

    A run in a folder of that name in the working directory is preferred. Raises ConfigError for `pretrained/NAME` where
    no model has this name.
    """
    if not path.parts or path.parts[0] != PRETRAINED or len(path.parts) > 2 or (path / RUN_FILE).is_file():
        return path
    name = path.parts[1] if len(path.parts) == 2 else DEFAULT
    known = {model.name: model.folder for model in pretrained()}
    if name not in known:
        raise ConfigError(
            f"{path}: no folder, and no pretrained model; these come with Drivebeat: {', '.join(known)} "
            "(drivebeat pretrained lists them)"
        )
    return known[name]


def is_pretrained(folder: Path) -> bool:
    """Return whether `folder` is that of a model that comes with Drivebeat."""
    return folder.parent == _root()


@contextmanager
def own_recordings(folder: Path, data: Path | None = None) -> Iterator[None]:
    """Say in an error about missing recordings that a pretrained model, the run in `folder`, comes without them.

    data: a file with other recordings; errors are about these then.
    """
    try:
        yield
    except NoRecording as error:
        if data is not None or not is_pretrained(folder):
            raise
        raise NoRecording(
            f"{error}; the recordings of a pretrained model do not come with it: get those that {folder / CARD} names, "
            "or give recordings of your own to a command that has --data"
        ) from error


def _root() -> Path:
    # beside this package, in a checkout as in a wheel; importing `models` would import torch
    return Path(__file__).parents[1] / "models" / PRETRAINED


def _summary(card: Path) -> str:
    """Return the first sentence of a card below its heading."""
    paragraphs = card.read_text(encoding="utf-8").split("\n\n")
    return " ".join(paragraphs[1].split()).split(". ")[0].rstrip(".")
