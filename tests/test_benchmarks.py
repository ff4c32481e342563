"""The benchmarks run; what they measure is for docs/benchmarks.md, not for a test."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_data_path_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/data_path.py", "--quick", "--threads", "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rates = re.findall(r"^(.+?)\s+[\d,]+ windows/s\s+([\d.]+) x$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rates] == [
        "per-item DataLoader",
        "ours, randomised per window",
        "ours, one surrogate per epoch",
    ]
    assert rates[0][1] == "1.0"
