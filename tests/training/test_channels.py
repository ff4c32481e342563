"""A model gets the channels that it was trained on, by their names, or the recording is refused with both lists."""

from pathlib import Path

import pytest

from data.config import DataConfig, Source
from training.channels import choose, described, with_names
from training.errors import ConfigError

HERE = Path("drive.csv")


def config(*noise: tuple[str, ...], clean: tuple[str, ...] = ("PCG",)) -> DataConfig:
    sources = tuple(Source(("n",), channels=names) for names in noise)
    return DataConfig(clean=(Source(("c",), channels=clean),), noise=sources)


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
