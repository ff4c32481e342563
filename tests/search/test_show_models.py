"""Families as tables: every one has a row, its numbers are those of objectives.cost, its parameters are all there."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console

from models import DENOISERS
from objectives.cost import macs_per_second, n_parameters
from objectives.losses import LOSSES
from search.study import costs as families
from search.study.costs import At, FamilyCost, family_costs
from search.study.space import parameters
from search.terminal.models import models_document, show_model, show_models
from training.errors import ConfigError

SMALL = At(rate_hz=250.0, window_samples=256, n_channels=2)


@pytest.fixture(scope="module")
def costs() -> dict[str, FamilyCost]:
    return {cost.name: cost for cost in family_costs(tuple(DENOISERS), SMALL)}


@pytest.fixture
def measured(costs: dict[str, FamilyCost], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are about numbers that are there already."""
    monkeypatch.setattr("search.terminal.models.family_costs", lambda names, at: tuple(costs[name] for name in names))


def shown(width: int = 80, **kwargs: Any) -> str:
    console = Console(file=io.StringIO(), width=width)
    (show_model if "name" in kwargs else show_models)(console=console, **kwargs)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_family_is_measured_and_its_size_and_work_are_those_of_objectives_cost(
    costs: dict[str, FamilyCost],
) -> None:
    assert set(costs) == set(DENOISERS)
    for name, cost in costs.items():
        module = DENOISERS[name]().build(2)
        assert cost.n_parameters == n_parameters(module)
        assert cost.macs_per_second == macs_per_second(module, 2, 256, 250.0)
        assert cost.latency_ms > 0 and cost.step_ms > 0


def test_latency_is_that_of_objectives_cost_on_the_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def latency(module: torch.nn.Module, n_channels: int, window_samples: int, repeats: int) -> float:
        seen.append((n_channels, window_samples, torch.get_num_threads()))
        return 7.0

    monkeypatch.setattr(families, "latency_ms", latency)
    before = torch.get_num_threads()
    (cost,) = family_costs(("autoencoder",), replace(SMALL, threads=2))
    assert cost.latency_ms == 7.0
    assert seen == [(2, 256, 2)]
    assert torch.get_num_threads() == before


def test_a_receptive_field_is_a_length_for_convolutions_and_the_window_for_memory(
    costs: dict[str, FamilyCost],
) -> None:
    """identity sees one sample of 4 ms; attention and recurrence see all, also where a gradient fades."""
    assert costs["identity"].receptive_field_s == pytest.approx(1 / 250)
    short = costs["pixel_shuffle"].receptive_field_s
    assert short is not None and 0.1 < short < 0.5
    for name in ("demucs", "wave_unet_transformer", "two_stage_transformer", "conv_transformer", "tf_mask", "s4d"):
        assert costs[name].receptive_field_s is None, name


def test_a_receptive_field_does_not_depend_on_the_window_it_fits_into() -> None:
    (short,) = family_costs(("autoencoder",), SMALL)
    (long,) = family_costs(("autoencoder",), replace(SMALL, window_samples=1024))
    assert short.receptive_field_s == long.receptive_field_s


@pytest.mark.usefixtures("measured")
def test_the_table_comes_first_fits_80_columns_and_says_at_what_it_was_measured() -> None:
    text = shown(at=SMALL)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    table = {line.split()[0]: line for line in lines[: len(DENOISERS) + 4] if line.strip()}
    for name, family in DENOISERS.items():
        assert f"{n_parameters(family().build(2)):,}" in table[name]
    assert "whole window" in table["s4d"]
    assert "2 channels at 250 Hz, 1 CPU thread; a window is 256 samples (1.02 s)" in " ".join(text.split())


@pytest.mark.usefixtures("measured")
def test_models_are_listed_with_every_parameter_and_range() -> None:
    text = shown(at=SMALL)
    for name, model in DENOISERS.items():
        assert name in text
        for parameter in parameters(model, LOSSES["l1"]):
            assert parameter in text
    for loss in LOSSES:
        assert f"loss {loss}" in text
    assert "0.0001 .. 0.01 log" in text


@pytest.mark.usefixtures("measured")
def test_one_family_can_be_asked_for_and_an_unknown_one_is_named_with_the_near_one() -> None:
    text = shown(name="tf_mask", at=SMALL)
    assert "stem_layers" in text
    assert "autoencoder" not in text
    with pytest.raises(ConfigError, match=r"unknown model 'tf_msk' \(did you mean 'tf_mask'\?\)"):
        shown(name="tf_msk", at=SMALL)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate_hz": 0.0}, "rate_hz is 0.0; a positive number"),
        ({"rate_hz": float("nan")}, "rate_hz is nan"),
        ({"window_samples": 0}, "window_samples is 0; at least 1"),
        ({"n_channels": 0}, "n_channels is 0; at least 1"),
        ({"threads": 0}, "threads is 0; at least 1"),
    ],
)
def test_what_nothing_can_be_measured_at_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(SMALL, **changes)


@pytest.mark.usefixtures("measured")
def test_the_document_holds_the_same_and_is_plain_json() -> None:
    document = models_document(SMALL, ("identity", "autoencoder"))
    assert json.loads(json.dumps(document)) == document
    identity, autoencoder = document["families"]
    assert (identity["name"], identity["n_parameters"], identity["parameters"]) == ("identity", 0, [])
    assert autoencoder["n_parameters"] == n_parameters(DENOISERS["autoencoder"]().build(2))
    (width,) = [p for p in autoencoder["parameters"] if p["name"] == "width"]
    assert width == {"name": "width", "type": "int", "range": "8 .. 32 step 8", "default": 16}
    assert set(document["losses"]) == set(LOSSES)
    assert set(document["shared"]) == {"optimiser", "schedule", "fit", "front", "beats", "live", "augment"}


def test_the_command_prints_json_of_one_family(drivebeat: Any) -> None:
    done = drivebeat("show", "--model", "identity", "--json", "--window-samples", "64", "--rate-hz", "500")
    document = json.loads(done.out)
    assert document["at"] == {"rate_hz": 500.0, "window_samples": 64, "n_channels": 1, "threads": 1}
    assert [family["receptive_field_s"] for family in document["families"]] == [1 / 500]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--models", "demo"), "--models and --model take no studies"),
        (("--model", "s4"), "unknown model 's4'"),
        (("--models", "--rate-hz", "-1"), "rate_hz is -1.0"),
        (("--models", "--csv"), "--csv prints trials"),
    ],
)
def test_options_that_do_not_go_together_are_told_in_one_line(
    drivebeat: Any, words: tuple[str, ...], said: str
) -> None:
    done = drivebeat("show", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
