"""Make docs/example: an evaluation of the pretrained model and the report of a search, by the commands themselves.

    make example

Generates the recordings of `make demo` in a temporary folder, evaluates the pretrained model on them, runs the search
of `make demo`, and writes its report. It takes about four minutes on two cores. The files are replaced only when all
commands have done their work. Two things are changed in them: pictures get a palette of 256 colours, a third of the
size, and the folders of this machine are cut from paths.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from scripts.front_page import WEIGHTS, digest
from tests.support.program import ROOT, command, environment
from training.pretrained import pretrained

EXAMPLE = ROOT / "docs" / "example"
PAGE, RECORDINGS, REPORT, EVALUATION = "index.md", "recordings.yaml", "report.html", "evaluation"
DOCUMENT, MADE_FROM = "evaluation.json", "made_from.json"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINKED = ("search", "docs")  # folders of the checkout that the commands read from


def main() -> None:
    """Run the commands that docs/example/index.md shows, and put what they write beside it."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for name in LINKED:
            (place / name).symlink_to(ROOT / name)
        for words, output in commands((EXAMPLE / PAGE).read_text(encoding="utf-8")):
            print(f"drivebeat {shlex.join(words)}", file=sys.stderr)
            run(words, place, place / output if output else None)
        publish(place)
    print(f"{EXAMPLE}: {', '.join(sorted(path.name for path in EXAMPLE.iterdir()))}")


def commands(page: str) -> list[tuple[list[str], str]]:
    """Return the words after `drivebeat` in each line of the page's blocks `sh`, and the file for its output, or ""."""
    lines = [line for block in BLOCK.findall(page) for line in block.splitlines()]
    found = []
    for line in lines:
        said, _, output = line.partition(" #")[0].partition(" > ")
        program, *words = shlex.split(said)
        if program != "drivebeat":
            raise ValueError(f"{PAGE}: {line!r} is no command of drivebeat")
        found.append((words, output.strip()))
    return found


def run(words: list[str], place: Path, output: Path | None) -> None:
    """Run `drivebeat WORDS` in `place`; output: a file for what it prints, else it is shown."""
    done = subprocess.run(
        command(*words), cwd=place, env=environment(), check=True, stdout=subprocess.PIPE if output else None
    )
    if output:
        output.write_bytes(done.stdout)


def publish(place: Path) -> None:
    """Replace the files of the example by those in `place`, and note the weights that were evaluated."""
    for picture in (place / EVALUATION).glob("*.png"):
        with_palette(picture)
    shutil.rmtree(EXAMPLE / EVALUATION, ignore_errors=True)
    shutil.copytree(place / EVALUATION, EXAMPLE / EVALUATION)
    for name in (DOCUMENT, REPORT):
        text = (place / name).read_text(encoding="utf-8")
        (EXAMPLE / name).write_text(without_folders(text, place, ROOT), encoding="utf-8")
    made_from = {"weights_sha256": digest(pretrained()[0].folder / WEIGHTS)}
    (EXAMPLE / MADE_FROM).write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")


def with_palette(picture: Path) -> None:
    """Give a picture a palette of 256 colours."""
    with Image.open(picture) as opened:
        few = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def without_folders(text: str, *folders: Path) -> str:
    """Return the text with `folders`, and paths below them, as relative ones."""
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    return text


if __name__ == "__main__":
    main()
