"""The figure and the sounds at the top of README.md are there, readable, and made of what is in the repository."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from data.synthetic.recordings import simulate
from scripts.front_page import AFTER, BEFORE, FIGURE, SHOWN_S, SOUND_RATE_HZ, SOURCES, sources
from scripts.sample import CONFIG

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("README.md", "README.ja.md")
MADE_FROM = json.loads((DOCS / SOURCES).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [BEFORE, AFTER])
def test_a_sound_is_heard_on_small_speakers(name: str) -> None:
    """It has the seconds of the figure, full level, and nearly all of its power above 120 Hz."""
    samples, rate_hz = soundfile.read(DOCS / name)
    assert (rate_hz, samples.size / rate_hz) == (SOUND_RATE_HZ, SHOWN_S[1] - SHOWN_S[0])
    assert 0.8 < np.max(np.abs(samples)) < 1
    power = np.abs(np.fft.rfft(samples)) ** 2
    assert power[np.fft.rfftfreq(samples.size, 1 / rate_hz) > 120].sum() > 0.95 * power.sum()


def test_the_estimate_is_not_the_recording() -> None:
    """It is quiet between the beats, which the recording is not."""
    before, after = (np.abs(soundfile.read(DOCS / name)[0]) for name in (BEFORE, AFTER))
    assert np.median(after) < 0.5 * np.median(before)


def test_the_files_are_small() -> None:
    assert sum((DOCS / name).stat().st_size for name in (FIGURE, BEFORE, AFTER)) < 500_000


def test_the_figure_is_a_wide_picture() -> None:
    with Image.open(DOCS / FIGURE) as picture:
        picture.verify()
        assert picture.width >= 1200 and picture.width > picture.height


def test_the_estimate_is_of_the_weights_and_the_recording_that_are_here() -> None:
    """Where this fails, run `python -m scripts.front_page`, and read README.md's numbers again."""
    assert {key: MADE_FROM[key] for key in sources()} == sources()


@pytest.mark.parametrize("page", PAGES)
def test_the_readme_states_what_the_command_printed(page: str) -> None:
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    printed = "heart rate: {heart_rate_bpm} bpm (median), {n_beats} beats, sure in {sure_s} of {duration_s} s"
    assert f"`{printed.format(**MADE_FROM)}`" in text
    low_s, high_s = MADE_FROM["seconds"]
    assert f"{high_s - low_s:g} s" in text
    factor = MADE_FROM["pitch_factor"]
    assert re.search(rf"{factor}(倍| times)", text) and f"{40 * factor} Hz" in text.replace("\n", " ")
    for name in (FIGURE, BEFORE, AFTER):
        assert f"(docs/{name})" in text


def test_the_generated_heart_has_the_rate_that_the_readme_states() -> None:
    beats = simulate(CONFIG, CONFIG.speeds_kmh[0])[1].r_s
    bpm = round(60 / float(np.mean(np.diff(beats))))
    assert f"The generated heart beats at {bpm} bpm" in (DOCS.parent / "README.md").read_text(encoding="utf-8")


def test_a_list_item_of_a_sound_gets_a_player() -> None:
    """A link in a sentence stays a link: a player would break it."""
    with_players = pytest.importorskip("scripts.site_pages", reason="the site needs the extra docs").with_players
    assert with_players("- [a](x.wav)\n- [b](y.md)") == (
        '- [a](x.wav)<br><audio controls preload="none" src="x.wav" aria-label="a"></audio>\n- [b](y.md)'
    )
    assert with_players("Hear [a](x.wav).") == "Hear [a](x.wav)."
