"""A person at the dashboard, played by a real Chromium: from the list of studies to a config that trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.chromium import NoChromium, find_chromium, headless_chromium
from scripts.screenshots import dashboard
from search.storage.open import open_storage
from search.study.study import load_study
from search.trials import best_trial
from training.config import read_run

PATIENCE_MS = 120_000  # of a machine that is busy with other tests
WINDOW_S = 512 / 250  # of the tiny study


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_best_trial_is_found_seen_heard_downloaded_and_trained(
    drivebeat: Any, study_file: Callable[..., Path], tmp_path: Path
) -> None:
    """Only what stands on the pages is clicked; nothing is asked of another host, and no script fails."""
    assert drivebeat("create", str(study_file(budget={"trials": 3}))).code == 0
    assert drivebeat("work", "tiny", "--threads", "1").code == 0
    best = best_trial(load_study("tiny", open_storage("sqlite:///studies.db")).optuna)
    assert best is not None
    with dashboard(tmp_path) as address, headless_chromium() as chromium:
        page = chromium.new_page(accept_downloads=True)
        page.set_default_timeout(PATIENCE_MS)
        asked, failures = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))

        page.goto(address)
        page.get_by_role("link", name="tiny").click()
        page.get_by_text(f"Best Trial (number={best.number})").wait_for()
        page.get_by_role("link", name="Details").click()
        page.get_by_role("heading", name=f"Trial {best.number} (").wait_for()
        assert page.get_by_text(f"complete, score {best.value:+.3f}").is_visible()

        figure = page.get_by_role("img", name="noisy, clean, estimate").element_handle()
        page.wait_for_function("figure => figure.complete", arg=figure)
        assert page.evaluate("figure => [figure.naturalWidth > 400, figure.naturalHeight > 200]", figure) == [True] * 2

        players = page.locator("audio")
        players.first.wait_for()
        assert players.count() == 3, "noisy, clean, estimate"
        for player in players.element_handles():
            page.wait_for_function("player => player.readyState >= 1 || player.error", arg=player)
            assert page.evaluate("player => player.error && player.error.message", player) is None
            assert page.evaluate("player => player.duration", player) == pytest.approx(WINDOW_S, abs=0.01)
        first = players.first.element_handle()
        players.first.scroll_into_view_if_needed()
        players.first.click(position={"x": 25, "y": players.first.bounding_box()["height"] / 2})  # its play button
        page.wait_for_function("player => player.currentTime > 0 || player.error", arg=first)
        assert page.evaluate("player => player.error", first) is None

        # the card is the nearest element that holds the file's name and a download button
        named = page.get_by_text("run.yaml", exact=True).locator("visible=true")
        card = named.last.locator("xpath=ancestor::*[.//*[@aria-label='download artifact']][1]")
        with page.expect_download() as downloading:
            card.get_by_label("download artifact").click()
        assert downloading.value.suggested_filename == "run.yaml"
        config = tmp_path / "downloaded" / downloading.value.suggested_filename
        downloading.value.save_as(config)
        assert failures == []
        ours = (address.removesuffix("/dashboard/"), "data:", "blob:")
        assert [url for url in asked if not url.startswith(ours)] == []
    assert read_run(config).optimiser.learning_rate == best.params["learning_rate"]
    trained = drivebeat("train", str(config), "-o", "runs/mine", "--epochs", "1")
    assert trained.code == 0, trained.err
    assert (tmp_path / "runs/mine/weights.safetensors").stat().st_size > 0


def test_a_machine_without_chromium_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The browser's test fails there and is not skipped: what it promises would be promised by nobody."""
    monkeypatch.delenv("DRIVEBEAT_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoChromium, match=r"no chromium, .* on the PATH; install it \(make browser\)"):
        find_chromium()
    monkeypatch.setenv("DRIVEBEAT_CHROMIUM", "/no/such/program")
    with pytest.raises(NoChromium, match="DRIVEBEAT_CHROMIUM is '/no/such/program', which is no program"):
        find_chromium()


@pytest.mark.parametrize("what", ["browser", "mlflow"])
def test_ci_installs_what_slow_tests_need_before_it_runs_them(what: str) -> None:
    lines = (Path(__file__).parents[2] / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines.index(f"make {what}") < lines.index("make test-slow")
