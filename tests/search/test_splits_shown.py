"""`create` shows what each split has, and warns of what lies in two."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE_HZ = 1000


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """Four persons, each with 15 s at rest and of driving."""
    for person in range(1, 5):
        folder = tmp_path / "demo" / f"s0{person}"
        folder.mkdir(parents=True)
        for i, name in enumerate(("stop", "60km")):
            samples = np.random.default_rng((person, i)).standard_normal(15 * RATE_HZ) / 10
            soundfile.write(folder / f"{name}.wav", samples.astype(np.float32), RATE_HZ, subtype="FLOAT")
    return tmp_path / "demo"


def sources(folder: Path, name: str, **options: Any) -> list[dict[str, Any]]:
    return [{"files": [f"{folder}/{name}.wav"], **options}]


def test_create_prints_recordings_minutes_and_groups_of_each_split(
    demo: Path, study_file: Callable[..., Path], data_section: dict[str, Any], drivebeat: Any
) -> None:
    clean, noise = (sources(demo, name, group="s*") for name in ("*/stop", "*/60km"))
    said = drivebeat("create", str(study_file(data={**data_section, "clean": clean, "noise": noise})))
    assert (said.code, said.err) == (0, "")
    rows = [line.split() for line in said.out.splitlines()]
    assert ["split", "clean", "minutes", "hearts", "noise", "minutes", "vehicles"] in rows
    assert ["train", "2", "0.5", "2", "2", "0.5", "2"] in rows
    for use in ("validation", "test"):
        assert [use, "1", "0.2", "1", "1", "0.2", "1"] in rows
    assert "warning" not in said.out


def test_create_warns_of_a_copy_in_another_split_and_of_a_group_in_two(
    demo: Path, study_file: Callable[..., Path], data_section: dict[str, Any], drivebeat: Any
) -> None:
    samples, _ = soundfile.read(demo / "s01" / "stop.wav")
    soundfile.write(demo / "copy.wav", (samples[1234:] * 0.3).astype(np.float32), RATE_HZ, subtype="FLOAT")
    (demo / "s03" / "stop.wav").rename(demo / "s02_again.wav")
    clean = [
        *sources(demo, "s0[124]/stop", use="train", group="s*"),
        *sources(demo, "copy", use="validation"),
        *sources(demo, "s02_again", use="test", group="s*"),
    ]
    noise = sources(demo, "*/60km")
    said = drivebeat("create", str(study_file(data={**data_section, "clean": clean, "noise": noise})))
    assert (said.code, said.err) == (0, "")
    of_group, of_copy = [line for line in said.out.splitlines() if line.startswith("warning: ")]
    assert "group 's02' is in train and test" in of_group
    assert "copy.wav (validation)" in of_copy and "s01/stop.wav (train)" in of_copy
