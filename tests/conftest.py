"""What all tests share: one thread per process, and the real recordings where a checkout has them beside it."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share the cores; set before torch is imported

os.environ.setdefault("DRIVEBEAT_CACHE", "")  # prepared recordings of tests are no use to anybody

import pytest
import torch

torch.set_num_threads(1)

REALDATA = Path(os.environ.get("DRIVEBEAT_REALDATA", Path(__file__).parents[2] / "shared" / "realdata"))


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real recordings; the test is skipped where there is none."""
    if not REALDATA.is_dir():
        pytest.skip(f"no real recordings at {REALDATA} (set DRIVEBEAT_REALDATA)")
    return REALDATA
