"""Check that a version can be released: it is built, installed from its wheel, and run in an empty folder.

    make release-check
    python -m scripts.release_check [--dist FOLDER] [--download]

The steps stop at the first that fails, with a line on standard error and exit code 2; the output of each step is in a
.log beside the built files. The wheel is installed into a new environment that finds its dependencies in the present
one, so that nothing but the builder is downloaded. --download installs the dependencies of the wheel instead, which
shows whether they are all named, and takes 2.5 GB.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from scripts.release_versions import VersionMismatch, agreed_version, build_requirements

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "drivebeat"
IMAGE = "drivebeat:release-check"
# What a wheel must hold besides its code, and what no wheel may hold.
NEEDED = ("models/pretrained/drive/weights.safetensors", "data/sample/drive_60km.wav", "search/studies/demo.toml")
UNWANTED = ("tests/", "docs/", "scripts/", "benchmarks/", "data/raw/", "data/demo/", "data/generated/", "runs/")
# The study of `make demo`, made so small that it ends in a minute.
QUICK = {"trials = 22": "trials = 2", "epochs = 8": "epochs = 2", "steps_per_epoch = 20": "steps_per_epoch = 4"}
FEWER_WINDOWS = "\n[data.validation]\nn_windows = 8\n\n[data.test]\nn_windows = 8\n"
SKIPPED = "skipped: "


class StepFailed(Exception):
    """A step of the check failed. The message is one line."""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a check. dist: built files and logs. scratch: what is removed at the end."""

    dist: Path
    scratch: Path

    @property
    def python(self) -> Path:
        """The interpreter of the new environment."""
        return self.scratch / "environment" / "bin" / "python"

    @property
    def empty(self) -> Path:
        """The folder that the installed program runs in."""
        return self.scratch / "empty"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all steps; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dist", type=Path, default=ROOT / "dist", help="folder of wheel, sdist and logs [default: dist]"
    )
    parser.add_argument("--download", action="store_true", help="install the wheel's dependencies (2.5 GB)")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        places = Places(asked.dist.resolve(), Path(temporary))
        places.dist.mkdir(parents=True, exist_ok=True)
        places.empty.mkdir()
        for old in places.dist.glob("*.log"):
            old.unlink()
        steps: dict[str, Callable[[], str]] = {
            "versions": lambda: f"{agreed_version(ROOT)} in pyproject.toml, CHANGELOG.md and CITATION.cff",
            "build": lambda: build(places),
            "site": lambda: site(places),
            "image": lambda: image(places),
            "install": lambda: install(places, download=asked.download),
            "apply": lambda: apply(places),
            "demo": lambda: demo(places),
        }
        return run_steps(steps, places.dist)


def run_steps(steps: Mapping[str, Callable[[], str]], dist: Path) -> int:
    """Run steps in order, each of which returns a remark. Print a line for each and a summary; return the exit code."""
    skipped = []
    for name, step in steps.items():
        started = time.monotonic()
        try:
            remark = step()
        except (StepFailed, VersionMismatch) as error:
            print(f"release check: {name}: {error}", file=sys.stderr)
            return 2
        if remark.startswith(SKIPPED):
            skipped.append(name)
        print(f"{name:10} {time.monotonic() - started:4.0f} s   {remark}", flush=True)
    left_out = f", {len(skipped)} skipped ({', '.join(skipped)})" if skipped else ""
    print(f"release check: {len(steps) - len(skipped)} steps passed{left_out}; built files and logs in {dist}")
    return 0


def build(places: Places) -> str:
    """Build sdist and wheel into `dist`, and look into the wheel."""
    for old in (*places.dist.glob("*.whl"), *places.dist.glob("*.tar.gz")):
        old.unlink()
    python = Path(sys.executable)
    log = places.dist / "build.log"
    if find_spec("hatchling") is None:
        folder = places.scratch / "builder"
        call([sys.executable, "-m", "venv", folder], log)
        python = folder / "bin" / "python"
        call([python, "-m", "pip", "install", "--quiet", *build_requirements(ROOT)], log)
    call([python, "-m", "hatchling", "build", "-d", places.dist], log, ROOT)
    wheel, sdist = built_wheel(places.dist), next(iter(places.dist.glob("*.tar.gz")), None)
    if sdist is None:
        raise StepFailed(f"no .tar.gz in {places.dist}; see {log}")
    with zipfile.ZipFile(wheel) as files:
        check_names(files.namelist())
    return " and ".join(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)" for path in (wheel, sdist))


def built_wheel(dist: Path) -> Path:
    """Return the one wheel in `dist`. Raises StepFailed."""
    found = list(dist.glob("*.whl"))
    if len(found) != 1:
        raise StepFailed(f"{len(found)} wheels in {dist}, where 1 was expected")
    return found[0]


def check_names(names: Sequence[str]) -> None:
    """Refuse a wheel that lacks a file it needs, or holds files that do not belong in it. Raises StepFailed."""
    lacking = [name for name in NEEDED if name not in names]
    if lacking:
        raise StepFailed(f"the wheel lacks {', '.join(lacking)}; see [tool.hatch.build] in pyproject.toml")
    unwanted = [name for name in names if name.startswith(UNWANTED) or "__pycache__" in name]
    if unwanted:
        raise StepFailed(f"the wheel holds {unwanted[0]}, which does not belong in it; see [tool.hatch.build]")


def site(places: Places) -> str:
    """Build the site as `make docs` does, in another folder."""
    words: list[str | Path] = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", places.scratch / "site"]
    call(words, places.dist / "site.log", ROOT, NO_MKDOCS_2_WARNING="1")
    return f"{sum(1 for _ in (places.scratch / 'site').rglob('*.html'))} pages"


def image(places: Places) -> str:
    """Build the image, where a Docker engine answers."""
    docker = shutil.which("docker")
    if docker is None:
        return f"{SKIPPED}no docker on the PATH"
    if subprocess.run([docker, "info"], capture_output=True, check=False, timeout=60).returncode:
        return f"{SKIPPED}no Docker engine answers"
    call([docker, "build", "-t", IMAGE, "."], places.dist / "image.log", ROOT)
    return IMAGE


def install(places: Places, *, download: bool) -> str:
    """Install the wheel into a new environment, and see that its code and version are those that run."""
    log = places.dist / "install.log"
    call([sys.executable, "-m", "venv", "--without-pip", places.python.parents[1]], log)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", places.python, "install", "--quiet"]
    wheel = built_wheel(places.dist)
    if download:
        call([*pip, "-c", ROOT / "constraints.txt", wheel], log)
    else:
        call([*pip, "--no-deps", "--no-index", wheel], log)
        share_packages(places.python)
    code = f"import search, importlib.metadata as m; print(search.__file__, m.version('{PACKAGE}'))"
    where, _, version = call([places.python, "-c", code], log, places.empty).strip().rpartition(" ")
    if not Path(where).is_relative_to(places.python.parents[1]):
        raise StepFailed(f"the environment runs {where}, not the installed wheel")
    if version != agreed_version(ROOT):
        raise StepFailed(f"the installed wheel is {version}, not {agreed_version(ROOT)}")
    packages = "dependencies downloaded" if download else "dependencies of the present environment"
    return f"{PACKAGE} {version}, {packages}"


def share_packages(python: Path) -> None:
    """Let the environment of `python` import what the present one has, after its own packages.

    A folder named in a .pth file is searched, and the .pth files in it are not read: an editable install of the
    checkout in the present environment stays unknown.
    """
    scheme = "posix_prefix" if "posix_prefix" in sysconfig.get_scheme_names() else sysconfig.get_default_scheme()
    base = {"base": str(python.parents[1]), "platbase": str(python.parents[1])}
    own = Path(sysconfig.get_path("purelib", scheme, vars=base))
    folders = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (own / "present.pth").write_text("".join(f"{folder}\n" for folder in folders), encoding="utf-8")


def apply(places: Places) -> str:
    """Denoise the shipped drive with the installed program; return the last line that it prints."""
    sample = installed(places) / "data" / "sample" / "drive_60km.wav"
    said = drivebeat(
        places, "apply", "apply", "pretrained", str(sample), "-o", "estimate.wav", "--audible", "--picture"
    )
    expect(places, "estimate.wav", "estimate.beats.csv", "estimate.heart_rate.csv", "estimate.png")
    return said.strip().splitlines()[-1]


def demo(places: Places) -> str:
    """Run the commands of `make demo` with a very small study, with the installed program."""
    text = quick((installed(places) / "search" / "studies" / "demo.toml").read_text(encoding="utf-8"))
    (places.empty / "demo.toml").write_text(text, encoding="utf-8")
    for line in (
        "data synth --out data/demo --seed 1 --minutes 0.2 --sessions 8 --speeds 100",
        "create demo.toml",
        "launch demo --workers 2 --threads 1",
        "export demo -o best.yaml",
        "train best.yaml -o final --epochs 1 --threads 1",
        "evaluate final --threads 1",
    ):
        drivebeat(places, "demo", *line.split())
    expect(
        places, "best.yaml", "final/weights.safetensors", "final/evaluation/table.csv", "final/evaluation/window.png"
    )
    return "recordings, search, export, training and evaluation"


def quick(study: str) -> str:
    """Return the text of the demo's study file with a small budget. Raises StepFailed where it has other lines."""
    for line, small in QUICK.items():
        if line not in study.splitlines():
            raise StepFailed(f"search/studies/demo.toml has no line {line!r}; mend QUICK in scripts/release_check.py")
        study = study.replace(line, small)
    return study + FEWER_WINDOWS


def installed(places: Places) -> Path:
    """Return the folder of the installed packages."""
    code = "import search, pathlib; print(pathlib.Path(search.__file__).parents[1])"
    return Path(call([places.python, "-c", code], places.dist / "install.log", places.empty).strip())


def drivebeat(places: Places, step: str, *words: str) -> str:
    """Run the installed `drivebeat` in the empty folder; return what it prints. Raises StepFailed."""
    return call([places.python.parent / PACKAGE, *words], places.dist / f"{step}.log", places.empty)


def expect(places: Places, *names: str) -> None:
    """Raise StepFailed if one of the files was not written, or is empty."""
    for name in names:
        path = places.empty / name
        if not path.is_file() or path.stat().st_size == 0:
            raise StepFailed(f"the installed program has not written {name}")


def call(words: Sequence[str | Path], log: Path, folder: Path | None = None, **more: str) -> str:
    """Run a command with its output in `log` too; return its standard output. Raises StepFailed.

    It sees neither the checkout by PYTHONPATH nor this program's settings of Drivebeat.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("DRIVEBEAT_")}
    line = [str(word) for word in words]
    try:
        done = subprocess.run(line, cwd=folder, env={**kept, **more}, capture_output=True, text=True, check=False)
    except OSError as error:
        raise StepFailed(f"{line[0]} does not start: {error.strerror}") from error
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(line)}\n{done.stdout}{done.stderr}")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        name = " ".join(word for word in line[:4] if word != sys.executable)
        raise StepFailed(f"{name} ... ended with {done.returncode}: {said}; all of its output is in {log}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
