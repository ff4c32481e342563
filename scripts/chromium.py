"""Headless Chromium, for pictures and for the test that looks at the dashboard as a person would.

The one at DRIVEBEAT_CHROMIUM, else the one on the PATH; `make browser` installs Debian's where there is none.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoChromium(RuntimeError):
    """No browser can be had."""


def find_chromium() -> str:
    """Where Chromium is. Raises NoChromium."""
    asked = os.environ.get("DRIVEBEAT_CHROMIUM")
    found = next(filter(None, map(shutil.which, [asked] if asked else NAMES)), None)
    if found is None:
        where = (
            f"DRIVEBEAT_CHROMIUM is {asked!r}, which is no program" if asked else f"no {', '.join(NAMES)} on the PATH"
        )
        raise NoChromium(f"{where}; install it (make browser), or set DRIVEBEAT_CHROMIUM to a Chromium or Chrome")
    return found


@contextmanager
def headless_chromium() -> Iterator[Any]:
    """A playwright Browser, closed at the end. Raises NoChromium."""
    path = find_chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NoChromium("playwright is not installed: pip install 'drivebeat[dev]', or make env") from error
    with sync_playwright() as playwright:
        # root and most containers can have no sandbox; only pages of our own are opened
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=120_000
        )
        try:
            yield chromium
        finally:
            chromium.close()


if __name__ == "__main__":
    try:
        print(find_chromium())
    except NoChromium as error:
        sys.exit(str(error))
