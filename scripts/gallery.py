"""Make the figures and sounds of docs/gallery again, by the block of code on each of its pages.

    make gallery

Each block runs as a program of its own, in the order of `PAGES`, in a temporary folder with data/ (generated) and
drive.wav (the sample). Its NAME*.png and NAME*.wav become those of docs/gallery/img, where NAME is the page's.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from data.files import atomic
from tests.support.program import ROOT, command, environment

GALLERY = ROOT / "docs" / "gallery"
IMAGES = GALLERY / "img"
PAGES = ("recording", "noise", "beats", "heart_rate", "failure", "search", "pruning", "families")
SYNTH = ("data", "synth", "--out", "data", "--seed", "1", "--minutes", "1", "--speeds", "30,50,60,80,100")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def main() -> None:
    """Make all pages' files, or those of the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "pages", nargs="*", metavar="PAGE", help=f"of {', '.join(PAGES)}; all by default; pruning needs search"
    )
    parser.add_argument("--folder", type=Path, help="where the blocks run, kept; a temporary one by default")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.pages) - set(PAGES)):
        parser.error(f"no page {', '.join(unknown)} in the gallery; its pages are {', '.join(PAGES)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        prepare(folder)
        IMAGES.mkdir(parents=True, exist_ok=True)
        for page in PAGES:
            if not arguments.pages or page in arguments.pages:
                for made in run(page, folder):
                    keep(made, IMAGES / made.name)
                    print(f"{page}: {IMAGES / made.name}", flush=True)


def blocks(page: str) -> list[str]:
    """Return the blocks of Python on a page of the gallery."""
    return BLOCK.findall((GALLERY / f"{page}.md").read_text(encoding="utf-8"))


def prepare(folder: Path) -> None:
    """Put the recordings that the blocks read into a folder: data/ and drive.wav."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data").exists():
        subprocess.run(command(*SYNTH, "--quiet"), cwd=folder, env=clean_environment(), check=True)
    shutil.copy(ROOT / "data" / "sample" / "drive_60km.wav", folder / "drive.wav")


def run(page: str, folder: Path) -> list[Path]:
    """Run a page's block in a folder that is prepared; return the figures and sounds that it wrote.

    A block that fails ends the program with its exit code.
    """
    (block,) = blocks(page)
    for old in made_by(page, folder):
        old.unlink()
    program = folder / f"{page}_page.py"
    program.write_text(block, encoding="utf-8")
    done = subprocess.run([sys.executable, program.name], cwd=folder, env=clean_environment(), check=False)
    if done.returncode:
        sys.exit(f"{page}: the block of docs/gallery/{page}.md ended with exit code {done.returncode}")
    return made_by(page, folder)


def made_by(page: str, folder: Path) -> list[Path]:
    """Return the figures and sounds of a page that lie in a folder."""
    return sorted(path for path in folder.glob(f"{page}*") if path.suffix in (".png", ".wav"))


def clean_environment() -> dict[str, str]:
    """Return the environment of the blocks: one thread, no window, the looks of scripts/matplotlibrc."""
    return environment(
        PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", MPLBACKEND="agg", MATPLOTLIBRC=str(ROOT / "scripts" / "matplotlibrc")
    )


def keep(made: Path, path: Path) -> None:
    """Copy a sound as it is, and a figure in at most 256 colours, a third of its bytes."""
    with atomic(path) as temporary:
        if made.suffix == ".wav":
            shutil.copy(made, temporary)
            return
        few = io.BytesIO()
        with Image.open(made) as picture:
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(few, format="PNG", optimize=True)
        temporary.write_bytes(few.getvalue())


if __name__ == "__main__":
    main()
