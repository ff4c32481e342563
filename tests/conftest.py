"""What all tests share: one thread per process, and the real recordings where a checkout has them beside it."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share the cores; set before torch is imported

os.environ.setdefault("DRIVEBEAT_CACHE", "")  # prepared recordings of tests are no use to anybody

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# A busy machine is no failure. CI draws the same examples each time, so that a commit does not fail by chance.
settings.register_profile("drivebeat", deadline=None)
settings.register_profile("drivebeat-ci", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "drivebeat"))

REALDATA = Path(os.environ.get("DRIVEBEAT_REALDATA", Path(__file__).parents[2] / "shared" / "realdata"))


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real recordings; the test is skipped where there is none."""
    if not REALDATA.is_dir():
        pytest.skip(f"no real recordings at {REALDATA} (set DRIVEBEAT_REALDATA)")
    return REALDATA


@pytest.fixture(scope="session")
def realdata2() -> Path:
    """The folder of packed recordings beside that of `realdata`; the test is skipped where there is none."""
    folder = REALDATA.with_name("realdata2")
    if not folder.is_dir():
        pytest.skip(f"no packed recordings at {folder} (set DRIVEBEAT_REALDATA to the folder beside it)")
    return folder


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A trust file of the test's own, whose path is given; what plug-ins register is removed after the test."""
    from tests.support.plugins import undone

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DRIVEBEAT_TRUST", raising=False)
    with undone():
        yield tmp_path / "state" / "drivebeat" / "trusted"


@pytest.fixture
def site(plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path, as one of site-packages, whose packages are forgotten after the test."""
    from data.entry_points import load_installed

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    load_installed.cache_clear()
    yield folder
    load_installed.cache_clear()
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def ask() -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """Asks a WSGI application for its status, headers and body.

    (application, path="/", method="GET", query="", **headers), names of headers as WSGI has them, without HTTP_.
    """

    def answer(
        application: Any, path: str = "/", method: str = "GET", query: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
        environ |= {f"HTTP_{name}": value for name, value in headers.items()}
        setup_testing_defaults(environ)
        said: list[Any] = []
        body = application(environ, lambda status, rows, exc_info=None: said.extend((status, rows)))
        whole = b"".join(body)
        if hasattr(body, "close"):
            body.close()
        return int(said[0][:3]), dict(said[1]), whole

    return answer
