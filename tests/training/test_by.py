"""A model is scored on each speed, vehicle, recording and channel by itself, with intervals over recordings."""

import csv
import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from data.config import DataConfig, HeldOutConfig, Source
from data.mixing.mixture import HeldOut
from data.readers.arrays.npz import write_npz
from data.recording import Recording
from training.errors import ConfigError
from training.evaluation.by import NO_SPEED, PartLine, evaluate_by, part_table, speed_of, write_parts
from training.evaluation.intervals import Interval

PLAN = HeldOutConfig(n_windows=6, snrs_db=(-5.0, 5.0))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, data: DataConfig) -> DataConfig:
    """The tiny corpus with test noise of two speeds, each of two recordings, with two channels."""
    folder = tmp_path_factory.mktemp("drives")
    for i, name in enumerate(("a/100km", "b/100km", "a/30km", "b/30km", "idle", "train_50km", "validation_50km")):
        samples = np.random.default_rng(i).standard_normal((2, 10_000)).astype(np.float32)
        write_npz(Recording(samples, 250.0, ("z", "x"), folder / name), folder / f"{name}.npz")
    named = ("z", "x")
    noise = (
        Source((str(folder / "[ab]/*.npz"),), channels=named, use="test", group="?"),
        Source((str(folder / "idle.npz"),), channels=named, use="test"),
        Source((str(folder / "train*.npz"),), channels=named, use="train"),
        Source((str(folder / "validation*.npz"),), channels=named, use="validation"),
    )
    return dataclasses.replace(data, noise=noise)


def unchanged(mixture: HeldOut) -> dict[str, NDArray[np.float32]]:
    return {"noisy": np.ascontiguousarray(mixture.noisy[:, :, 0])}


def evaluated(by: str, config: DataConfig) -> list[PartLine]:
    return evaluate_by(by, config, "test", PLAN, unchanged, ("si_sdr_db",))[0]


@pytest.mark.parametrize(
    ("by", "parts"),
    [
        ("speed", ["30 km/h", "100 km/h", NO_SPEED]),
        ("vehicle", ["a", "b", "idle.npz"]),
    ],
)
def test_every_part_has_a_line_at_every_snr_in_order_with_all_of_its_windows(
    by: str, parts: list[str], config: DataConfig
) -> None:
    """An estimate that changes nothing scores about the SNR itself on each; a vehicle without a group is a file."""
    lines = evaluated(by, config)
    found = [(line.part.removeprefix("drives0/"), line.snr_db) for line in lines]
    assert found == [(part, db) for part in parts for db in (*PLAN.snrs_db, math.inf)]
    for line in lines:
        assert line.n_windows == PLAN.n_windows
        assert line.value.mean == pytest.approx(min(line.snr_db, 60.0), abs=1.5)


def test_each_recording_of_either_kind_is_a_part_under_a_name_of_its_own(config: DataConfig) -> None:
    parts = list(dict.fromkeys(line.part for line in evaluated("recording", config)))
    noise = [part for part in parts if part.startswith("noise ")]
    assert len(noise) == 5 and len(set(noise)) == 5
    assert any(part.endswith("a/100km.npz") for part in noise)
    assert [part for part in parts if part.startswith("clean ")]


def test_recordings_of_one_file_are_parts_of_their_own_by_number(config: DataConfig) -> None:
    """Two sources take other channels of it. It is one vehicle, and all of them count for a speed."""
    (first, *others) = config.noise
    one = dataclasses.replace(first, group=None, channels=("z", "x"))
    other = dataclasses.replace(one, channels=("x", "z"))
    twice = dataclasses.replace(config, noise=(one, other, *others))
    parts = list(dict.fromkeys(line.part for line in evaluated("recording", twice)))
    noise = [part for part in parts if part.startswith("noise ")]
    assert len(noise) == 9
    assert sorted(part for part in noise if "100km" in part) == [
        "noise a/100km.npz",
        "noise a/100km.npz #2",
        "noise b/100km.npz",
        "noise b/100km.npz #2",
    ]
    assert len({line.part for line in evaluated("vehicle", twice)}) == 5
    seen: list[int] = []

    def counting(mixture: HeldOut) -> dict[str, NDArray[np.float32]]:
        seen.append(len(mixture.noisy))
        return unchanged(mixture)

    evaluate_by("speed", twice, "test", PLAN, counting, ("si_sdr_db",))
    assert len(seen) == 3


def test_a_config_without_names_cannot_be_evaluated_by_channel_and_a_wrong_part_is_refused(config: DataConfig) -> None:
    unnamed = dataclasses.replace(config, noise=tuple(dataclasses.replace(s, channels=()) for s in config.noise))
    with pytest.raises(ConfigError, match="needs the channels"):
        evaluated("channel", unnamed)
    other = dataclasses.replace(config, clean=tuple(dataclasses.replace(s, channels=("q",)) for s in config.clean))
    with pytest.raises(ConfigError, match="by the same name; named: z, x;"):
        evaluated("channel", other)
    with pytest.raises(ConfigError, match="speed, vehicle, recording, channel"):
        evaluated("weather", config)


def test_each_channel_is_cleaned_with_the_others_as_references(config: DataConfig, tmp_path: Path) -> None:
    """The mixture of the second has it first, before the first."""
    sources = []
    for i, role in enumerate(("clean", "noise")):
        samples = np.random.default_rng(20 + i).standard_normal((2, 10_000)).astype(np.float32)
        write_npz(Recording(samples, 250.0, ("z", "x"), Path(role)), tmp_path / f"{role}.npz")
        sources.append((Source((str(tmp_path / f"{role}.npz"),), channels=("z", "x"), use="test"),))
    seen: list[NDArray[np.float32]] = []

    def noisy_of(mixture: HeldOut) -> dict[str, NDArray[np.float32]]:
        seen.append(mixture.noisy)
        return unchanged(mixture)

    two = dataclasses.replace(config, clean=sources[0], noise=sources[1])
    lines, _ = evaluate_by("channel", two, "test", PLAN, noisy_of, ("si_sdr_db",))
    assert [line.part for line in lines] == ["z"] * 3 + ["x"] * 3
    first, second = seen
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("source", "speed"),
    [
        ("drives/s01/100km.wav", "100 km/h"),
        ("Noise_data_30km.mat", "30 km/h"),
        ("50 km_h/run1.csv", "50 km/h"),
        ("x/060-kmh_b.csv", "60 km/h"),
        ("100km/idle_30km.wav", "30 km/h"),
        ("stop.wav", NO_SPEED),
    ],
)
def test_a_speed_is_read_from_the_name_then_from_the_folders(source: str, speed: str) -> None:
    assert speed_of(Path(source)) == speed


def test_the_table_and_the_file_hold_every_part(config: DataConfig, tmp_path: Path) -> None:
    lines = evaluated("speed", config)
    write_parts(lines, tmp_path / "by_speed.csv")
    with (tmp_path / "by_speed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["part"], row["snr_db"]) for row in rows] == [(x.part, f"{x.snr_db:g}") for x in lines]
    assert [float(row["mean"]) for row in rows] == pytest.approx([x.value.mean for x in lines], abs=1e-4)
    table = part_table(lines, "si_sdr_db", "noisy", "speed")
    assert (table.row_count, [str(column.header) for column in table.columns]) == (
        3,
        ["speed", "n", "-5 dB", "+5 dB", "clean"],
    )


def test_the_table_fits_80_columns_with_every_letter_of_a_name_and_no_interval_in_two() -> None:
    name = "noise session_2024-02-03/a_rather_long_name_of_a_recording_100km.npz"
    value = Interval(-12.34, -15.67, -10.12)
    lines = [PartLine(name, "m", db, "si_sdr_db", 48, value) for db in (-10.0, -5.0, 0.0, 5.0, math.inf)]
    console = Console(file=io.StringIO(), width=80)
    console.print(part_table(lines, "si_sdr_db", "m", "recording"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    assert text.count("-15.7..-10.1") == 5
    folded = [line.strip().split("  ")[0] for line in text.splitlines()]
    assert name.replace(" ", "") in "".join(folded).replace(" ", "")


def test_parts_of_one_split_need_no_recordings_of_the_others(config: DataConfig) -> None:
    one = dataclasses.replace(
        config,
        clean=tuple(dataclasses.replace(source, use="test") for source in config.clean),
        noise=tuple(source for source in config.noise if source.use == "test"),
    )
    assert {line.part for line in evaluated("speed", one)} == {"30 km/h", "100 km/h", NO_SPEED}
