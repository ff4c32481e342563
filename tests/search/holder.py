"""A process that holds the lock of a turn: `python holder.py URL FOLDER` makes FOLDER/held once it has it, lets it go
when there is a file FOLDER/go, and then makes FOLDER/left."""

import sys
import time
from pathlib import Path

from search.storage.locks import exclusive
from search.storage.open import open_engine


def main() -> None:
    url, place = sys.argv[1:]
    folder = Path(place)
    with exclusive(open_engine(url), "turn", expires_s=60.0):
        (folder / "held").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
    (folder / "left").touch()


if __name__ == "__main__":
    main()
