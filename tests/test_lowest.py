"""The constraints that `make lowest` tests with: lower bounds, and nothing newer than constraints.txt."""

import pytest

from scripts.lowest import EXTRAS, constraints, lowest


def test_a_requirement_is_pinned_to_its_lower_bound() -> None:
    assert lowest(["numpy>=2.0,<3", "PyWavelets<2,>=1.9", "psycopg[binary]>=3.2.1"]) == {
        "numpy": "2.0",
        "pywavelets": "1.9",
        "psycopg": "3.2.1",
    }


def test_a_requirement_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="numpy<3 has no single lower bound"):
        lowest(["numpy<3"])


def test_torch_is_the_one_here_and_indirect_packages_are_no_newer_than_tested() -> None:
    extras = {extra: [f"of-{extra}>=1"] for extra in EXTRAS}
    project = {"dependencies": ["torch>=2.6,<3", "PyYAML>=6.0"], "optional-dependencies": {**extras, "dev": ["ruff"]}}
    lines = list(constraints(project, ["pyyaml==6.0.3", "click==8.5.1"], "2.13.0"))
    assert sorted(lines) == sorted(
        ["torch==2.13.0", "pyyaml==6.0", "click<=8.5.1", *(f"of-{extra}==1" for extra in EXTRAS)]
    )
