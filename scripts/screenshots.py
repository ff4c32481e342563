"""Pictures of a real small study for the documentation: dashboard, report and `watch`, taken in a real browser.

    make screenshots

Generates recordings, searches two families on them with two workers (some minutes on two cores), serves the dashboard
and photographs its pages in headless Chromium into docs/img/. Needs the package playwright and a Chromium: the one at
DRIVEBEAT_CHROMIUM, else chromium on the PATH, else playwright's own.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "img"
NAME, FAMILIES = "cabin", ("wave_unet_transformer", "conv_transformer")
SIZE = {"width": 1280, "height": 900}
SETTLE_MS = 4000  # figures of the dashboard draw themselves after the page has loaded

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
    if shutil.which("chromium") is None and "DRIVEBEAT_CHROMIUM" not in os.environ:
        print("no chromium on the PATH: taking playwright's own (playwright install chromium)")
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        watched = "" if (place / "studies.db").exists() else search(place)
        drivebeat(place, "report", NAME, "-o", "report.html", "--threads", "1")
        IMAGES.mkdir(parents=True, exist_ok=True)
        with dashboard(place) as address, browser() as chromium:
            photograph(chromium, address, place)
            if watched:
                photograph_terminal(chromium, watched)
    print(f"{IMAGES}: {', '.join(sorted(path.name for path in IMAGES.glob('shot_*.png')))}")


def drivebeat(folder: Path, *arguments: str) -> None:
    """Run a command in `folder`."""
    subprocess.run([sys.executable, "-m", "search.cli", *arguments], cwd=folder, env=environment(), check=True)


def environment() -> dict[str, str]:
    """This one with the checkout on the path, and none of the user's own places."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIVEBEAT_")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**kept, "PYTHONPATH": path}


def search(folder: Path) -> str:
    """Recordings, studies, search; the SVG of what `drivebeat watch` shows half way."""
    synth = ("--seed", "1", "--minutes", "1", "--sessions", "5", "--speeds", "80,120")
    drivebeat(folder, "data", "synth", "--out", "data/demo", *synth)
    (folder / "study.toml").write_text(STUDY.replace("'", '"'), encoding="utf-8")
    drivebeat(folder, "create", "study.toml")
    launch = [sys.executable, "-m", "search.cli", "launch", NAME, "--workers", "2"]
    with subprocess.Popen(launch, cwd=folder, env=environment()) as launched:
        watched = ""
        while launched.poll() is None:
            watched = terminal(folder) or watched
            time.sleep(5)
    if launched.returncode:
        sys.exit(f"the search ended with exit code {launched.returncode}")
    return watched


def terminal(folder: Path) -> str:
    """The SVG of a terminal of 80 columns that looks on; "" once more than three quarters are finished."""
    from rich.console import Console

    from search.live import snapshot
    from search.live_view import render
    from search.storage import open_engine, open_storage
    from search.study import select

    url = f"sqlite:///{folder}/studies.db"
    engine = open_engine(url)
    snaps = [snapshot(study, engine) for study in select(NAME, open_storage(url))]
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
    command = [sys.executable, "-u", "-m", "search.cli", "dashboard", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        try:
            for line in served.stdout:
                if found := re.search(r"http://\S+/dashboard/", line):
                    yield found[0]
                    break
            else:
                sys.exit("the dashboard ended before it listened")
        finally:
            served.terminate()


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("screenshots need playwright: pip install playwright")
    with sync_playwright() as playwright:
        path = os.environ.get("DRIVEBEAT_CHROMIUM") or shutil.which("chromium")
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def photograph(chromium: Any, address: str, folder: Path) -> None:
    """Study list, study, trial with figure and player, comparison, report."""
    from search.export import best_of
    from search.storage import open_storage
    from search.study import select

    studies = select(NAME, open_storage(f"sqlite:///{folder}/studies.db"))
    best, trial = best_of(studies)
    numbers = [study.study._study_id for study in studies]
    pages = {
        "study_list": address,
        "study": f"{address}studies/{best.study._study_id}",
        "trial": f"{address}studies/{best.study._study_id}/trials?numbers={trial.number}",
        "comparison": f"{address}compare-studies?ids={','.join(map(str, numbers))}",
        "report": f"file://{folder.resolve()}/report.html",
    }
    page = chromium.new_context(viewport=SIZE, color_scheme="light").new_page()
    for name, where in pages.items():
        page.goto(where)
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=str(IMAGES / f"shot_{name}.png"))
        if name == "trial":  # the players stand below what fits the window
            players = page.locator("audio")
            if players.count():
                players.first.scroll_into_view_if_needed()
                page.wait_for_timeout(SETTLE_MS // 4)
                page.screenshot(path=str(IMAGES / "shot_trial_sounds.png"))


def photograph_terminal(chromium: Any, svg: str) -> None:
    """What `drivebeat watch` shows, as PNG."""
    page = chromium.new_context(viewport={"width": 1000, "height": 700}, device_scale_factor=1).new_page()
    page.set_content(f'<body style="margin:0">{svg}</body>')
    page.locator("svg").first.screenshot(path=str(IMAGES / "shot_watch.png"))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
