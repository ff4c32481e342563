"""A model gets the channels that it was trained on, by their names, or the recording is refused with both lists."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.config import AugmentConfig, DataConfig, Source
from data.recording import Recording
from training.channels import check_channels, choose, described, with_names, with_note_of_missing
from training.errors import ConfigError

HERE = Path("drive.csv")


def config(*noise: tuple[str, ...], clean: tuple[str, ...] = ("PCG",)) -> DataConfig:
    sources = tuple(Source(("n",), channels=names) for names in noise)
    return DataConfig(clean=(Source(("c",), channels=clean),), noise=sources)


def without_some(data: DataConfig) -> DataConfig:
    """The data of a model that was trained with references missing."""
    return replace(data, augment=AugmentConfig(reference_dropout=0.2))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("temperature", "x", "y", "z"), ("z", "x", "y")),
        (("X", "Y", "Z"), ("Z", "X", "Y")),
        (("ch1", "ch2", "ch3", "ch4"), ("ch1", "ch2", "ch3")),
        (("back", "seat", "belt"), ("seat", "belt", "back")),
    ],
)
def test_channels_are_found_by_name_or_by_order_where_the_file_names_none(
    names: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    assert choose(config(("z", "x", "y"), ("seat", "belt", "back")), HERE, names) == chosen


@pytest.mark.parametrize(
    "names", [("temperature", "acc"), ("a", "b", "c"), ("x", "y"), ("ch1", "ch2"), ("ch2", "ch1", "ch3")]
)
def test_other_names_or_too_few_channels_are_refused_with_both_lists(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as raised:
        choose(config(("z", "x", "y")), HERE, names)
    text = str(raised.value)
    assert ", ".join(names) in text and "z with x, y as references" in text and "--channels" in text


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("z", "x", "y"), ("z", "x", "y")),
        (("temperature", "Y", "Z"), ("Z", "Y")),
        (("z", "a"), ("z",)),
        (("ch1", "ch2"), ("ch1", "ch2")),
        (("ch1",), ("ch1",)),
    ],
)
def test_a_model_trained_with_silent_references_takes_those_that_are_there(
    names: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    assert choose(without_some(config(("z", "x", "y"))), HERE, names) == chosen


@pytest.mark.parametrize("names", [("x", "y"), ("a",), ("temperature", "x")])
def test_the_channel_to_clean_is_never_guessed(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="name the channel to clean"):
        choose(without_some(config(("z", "x", "y"))), HERE, names)


def test_missing_references_are_noted_and_more_channels_refused() -> None:
    data = without_some(config(("z", "x", "y")))

    def recording(*names: str) -> Recording:
        return Recording(np.ones((len(names), 100), np.float32), 250.0, names, HERE)

    assert with_note_of_missing(data, recording("z", "x", "y")).notes == ()
    assert (
        with_note_of_missing(data, recording("z", "x")).notes[0].startswith("1 of the model's 2 references is missing")
    )
    assert with_note_of_missing(data, recording("z")).notes[0].startswith("2 of the model's 2 references are missing")
    check_channels(data, recording("z"))
    with pytest.raises(ConfigError, match=r"4 channels \(z, x, y, w\), the model needs 3"):
        check_channels(data, recording("z", "x", "y", "w"))
    with pytest.raises(ConfigError, match=r"1 channel \(z\), the model needs 3"):
        check_channels(config(("z", "x", "y")), recording("z"))


def test_a_model_whose_config_names_no_channels_takes_the_first() -> None:
    data = DataConfig(clean=(Source(("c",)),), noise=(Source(("n",)),))
    assert choose(data, HERE, ("seat", "belt")) == ("seat",)
    assert described(("seat",)) == "cleaning channel seat"
    assert described(("z", "x", "y")) == "cleaning channel z; references: x, y"


def test_other_data_get_the_model_s_names_and_are_refused_in_another_order() -> None:
    data = config(("z", "x", "y"))
    unnamed, other = Source(("a",)), Source(("b",), channels=("seat", "belt", "back"))
    assert with_names((unnamed, other), data, HERE) == (Source(("a",), channels=("z", "x", "y")), other)
    with pytest.raises(ConfigError, match=r"channels are x, y, z; the model was trained on z with x, y as references"):
        with_names((Source(("c",), channels=("x", "y", "z")),), data, HERE)
    several = config(("z", "x", "y"), ("seat", "belt", "back"))
    assert with_names((unnamed,), several, HERE) == (unnamed,)
