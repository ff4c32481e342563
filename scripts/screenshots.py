"""Pictures of a real small study for the documentation: dashboard, report and `watch`, taken in a real browser.

    make screenshots

Generates recordings, searches two families on them with two workers (some minutes on two cores), serves the dashboard
and photographs its pages in headless Chromium (scripts/chromium.py) into docs/img/.
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from scripts.chromium import NoChromium, find_chromium, headless_chromium
from tests.support.program import ROOT, command, environment

IMAGES = ROOT / "docs" / "img"
NAME, FAMILIES = "cabin", ("wave_unet_transformer", "conv_transformer")
SIZE = {"width": 1280, "height": 1010}  # the four plots of a study
SETTLE_MS = 4000  # figures of the dashboard draw themselves after the page has loaded
PATIENCE_MS = 120_000
WATCHED = "watch.svg"

STUDY = f"""
name = "{NAME}"
models = {list(FAMILIES)!r}
epochs = 6
search = ["nhead", "encoder_layers", "gain", "peak_weight", "learning_rate", "norm"]
fixed = {{ gain_spread_db = 15.0, batch_size = 16, steps_per_epoch = 12 }}
ranges = {{ encoder_layers = {{ low = 1, high = 3 }}, norm = {{ choices = ["batch", "group", "none"] }} }}
sampler = {{ name = "tpe", startup_trials = 5 }}
pruner = {{ name = "median", startup_trials = 4, warmup_epochs = 1 }}
budget = {{ trials = 14 }}
[data]
rate_hz = 250.0
window_samples = 1280
stride_samples = 8
randomiser = "none"
validation = {{ n_windows = 24 }}
[[data.clean]]
files = ["data/demo/*/stop.wav"]
channels = ["ch1", "ch2", "ch3", "ch4"]
ecg = {{ replace = "stop", by = "stop_ECG" }}
[[data.noise]]
files = ["data/demo/*/*km.wav"]
channels = ["ch1", "ch2", "ch3", "ch4"]
"""


def main() -> None:
    """Take the pictures; --folder keeps the study (or takes one that is there) instead of a temporary one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the study is made, or lies already")
    folder: Path | None = parser.parse_args().folder
    try:
        find_chromium()
    except NoChromium as error:  # before minutes of searching
        sys.exit(str(error))
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "studies.db").exists():
            study(place)
        drivebeat(place, "report", NAME, "-o", "report.html", "--threads", "1")
        IMAGES.mkdir(parents=True, exist_ok=True)
        with dashboard(place) as address, headless_chromium() as chromium:
            photograph(chromium, address, place)
            photograph_terminal(chromium, (place / WATCHED).read_text(encoding="utf-8"))
    print(f"{IMAGES}: {', '.join(sorted(path.name for path in IMAGES.glob('shot_*.png')))}")


def drivebeat(folder: Path, *arguments: str) -> None:
    """Run a command in `folder`."""
    subprocess.run(command(*arguments), cwd=folder, env=clean_environment(), check=True)


def clean_environment() -> dict[str, str]:
    """Build the environment of the program without the user's own settings."""
    return {
        name: value for name, value in environment(PYTHONUNBUFFERED="1").items() if not name.startswith("DRIVEBEAT_")
    }


def study(folder: Path) -> None:
    """Recordings, studies, search; what `drivebeat watch` shows on the way goes to watch.svg."""
    synth = ("--seed", "1", "--minutes", "1", "--sessions", "5", "--speeds", "80,120")
    drivebeat(folder, "data", "synth", "--out", "data/demo", *synth)
    (folder / "study.toml").write_text(STUDY.replace("'", '"'), encoding="utf-8")
    drivebeat(folder, "create", "study.toml")
    with subprocess.Popen(command("launch", NAME, "--workers", "2"), cwd=folder, env=clean_environment()) as launched:
        while launched.poll() is None:
            if watched := terminal(folder):
                (folder / WATCHED).write_text(watched, encoding="utf-8")
            time.sleep(5)
    if launched.returncode:
        sys.exit(f"the search ended with exit code {launched.returncode}")


def terminal(folder: Path) -> str:
    """The SVG of a terminal of 80 columns that looks on; "" once more than three quarters are finished."""
    from rich.console import Console

    from search.storage.open import open_engine, open_storage
    from search.study.status import snapshot
    from search.study.study import load_studies
    from search.terminal.status import render

    url = f"sqlite:///{folder}/studies.db"
    engine = open_engine(url)
    snaps = [snapshot(study, engine) for study in load_studies(NAME, open_storage(url))]
    engine.dispose()
    share = sum(snap.finished for snap in snaps) / sum(snap.budget for snap in snaps)
    if share > 0.75:
        return ""
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
    console.print(render(snaps))
    svg = console.export_svg(title=f"drivebeat watch {NAME}")
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from another host: never asked for


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """`drivebeat dashboard` on a free port; its address."""
    words = command("dashboard", "--port", "0")
    with subprocess.Popen(words, cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        try:
            for line in served.stdout:
                if found := re.search(r"http://\S+/dashboard/", line):
                    yield found[0]
                    break
            else:
                raise RuntimeError("the dashboard ended before it listened")
        finally:
            served.terminate()


def photograph(chromium: Any, address: str, folder: Path) -> None:
    """Study list, study with its plots and note, trial with figure and players, report with its comparison."""
    from search.storage.open import open_storage
    from search.study.export import best_of
    from search.study.study import load_studies

    best, trial = best_of(load_studies(NAME, open_storage(f"sqlite:///{folder}/studies.db")))
    study, report = f"{address}studies/{best.optuna._study_id}", f"file://{folder.resolve()}/report.html"
    page = chromium.new_context(viewport=SIZE, color_scheme="light").new_page()
    page.set_default_timeout(PATIENCE_MS)

    def take(name: str, where: str = "", below: str = "") -> None:
        """`where` from its top, or from `below` (a selector) on; "": the page that is open."""
        if where:
            page.goto(where, wait_until="networkidle")
            page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth)")
            page.wait_for_timeout(SETTLE_MS)
        if below:
            scroll = "found => { found.style.scrollMarginTop = '110px'; found.scrollIntoView({block: 'start'}) }"
            page.locator(below).first.evaluate(scroll)  # the dashboard's own bar lies over the page's top
            page.wait_for_timeout(SETTLE_MS)
        shrink(page.screenshot(), IMAGES / f"shot_{name}.png")

    take("study_list", address)
    take("study", study)
    take("study_plots", below="text=Best trials beside the classical rows")
    take("study_note", f"{study}/note")
    take("trial", f"{study}/trials?numbers={trial.number}")
    take("trial_sounds", below="text=User Attributes")
    take("report", report)
    take("comparison", below="#scores-by-snr")


def photograph_terminal(chromium: Any, svg: str) -> None:
    """What `drivebeat watch` showed, as PNG."""
    page = chromium.new_context(viewport={"width": 1000, "height": 700}, device_scale_factor=1).new_page()
    page.set_content(f'<body style="margin:0">{svg}</body>')
    shrink(page.locator("svg").first.screenshot(), IMAGES / "shot_watch.png")


def shrink(png: bytes, path: Path) -> None:
    """Write the picture in at most 256 colours, a third of its bytes."""
    with Image.open(io.BytesIO(png)) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
