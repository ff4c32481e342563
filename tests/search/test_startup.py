"""What a command does not need, it does not import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "optuna", "sqlalchemy", "matplotlib", "scipy", "numpy", "pandas", "sklearn", "plotly")
PROGRAM = """
import json, sys
from search.cli import main
sys.argv = ["drivebeat", *json.loads(sys.argv[1])]
try:
    main()
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print("\\n" + json.dumps(sorted(loaded)))
"""


def loaded_by(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], ["work", "--help"], ["data", "--help"]], ids=" ".join)
def test_help_imports_none_of_the_heavy_libraries(words: list[str]) -> None:
    assert loaded_by(*words) & set(HEAVY) == set()
