"""A run's document gives back the run, bit for bit, and says by name what in it cannot be."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig, EcgRule, Source
from models import DENOISERS
from objectives.losses import LOSSES
from search.study.space import build_space, sample, sections
from training.config import (
    SCHEMA_VERSION,
    FitConfig,
    RunConfig,
    from_document,
    read_run,
    read_run_with_provenance,
    to_document,
    with_values,
    write_run,
)
from training.decode import decode
from training.documents import read_document, write_document
from training.errors import ConfigError
from training.evaluation.scores import SCORES

GOLDEN = Path(__file__).parent / "golden_run_v1.yaml"
MakeRun = Callable[..., RunConfig]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", DENOISERS)
def test_params_to_run_to_document_and_back_are_equal(model: str, loss: str, data: DataConfig, tmp_path: Path) -> None:
    """For every model and loss, with sampled values, as YAML and as JSON."""
    space = build_space(DENOISERS[model], LOSSES[loss])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=len(model + loss)))
    for _ in range(2):
        params = sample(study.ask(), space)
        made = sections(space, params, "here")
        assert made.pop("augment") == {}
        run = RunConfig(data=data, **made)
        assert from_document(to_document(run), "here") == run
        for name in ("run.yaml", "run.json"):
            write_run(run, tmp_path / name)
            assert read_run(tmp_path / name) == run


def test_every_kind_of_data_field_survives_the_document(run: RunConfig, tmp_path: Path) -> None:
    source = Source(("a", "b/*"), ("z", "x"), "v", 1000, "240517", EcgRule("_a", "_b"), "test")
    data = dataclasses.replace(run.data, clean=(source, source), band_hz=None, level="raw", pairing="index")
    changed = dataclasses.replace(run, data=data)
    write_run(changed, tmp_path / "run.yaml")
    assert read_run(tmp_path / "run.yaml") == changed


@settings(max_examples=50)
@given(value=st.floats(min_value=1e-300, max_value=1e300))
def test_a_float_keeps_every_bit_through_yaml(value: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("float") / "a.yaml"
    write_document({"x": value}, path)
    assert read_document(path)["x"] == value


def test_the_golden_document_loads_for_ever() -> None:
    """Written by schema version 1; a later Drivebeat may migrate it, never refuse it."""
    run, provenance = read_run_with_provenance(GOLDEN)
    assert run.model == DENOISERS["wave_unet_transformer"](nhead=4)  # type: ignore[call-arg]
    assert run.data.clean[0].ecg == EcgRule("_PCG", "_ECG")
    assert run.data.noise[0].channels == ("z", "x", "y")
    assert run.data.band_hz == (25.0, 55.0)
    assert run.optimiser.learning_rate == 0.0012345678901234567
    assert run.schedule.gain == 1.5
    assert run.loss.peak_weight == 0.25  # type: ignore[attr-defined]
    assert (run.fit.epochs, run.fit.score, run.fit.threads) == (14, "si_sdr_db", 1)
    assert provenance["study"] == "golden"


def test_provenance_tells_and_does_not_decide(run: RunConfig, tmp_path: Path) -> None:
    write_run(run, tmp_path / "a.yaml", {"study": "s", "trial": 3})
    read, provenance = read_run_with_provenance(tmp_path / "a.yaml")
    assert read == run
    assert provenance == {"study": "s", "trial": 3}


def changed(run: RunConfig, section: str, key: str, value: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(to_document(run)))
    document[section][key] = value
    return dict(document)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("fit", "epoch", 3, r"fit: unknown key 'epoch' \(did you mean 'epochs'\?\); known: .*batch_size"),
        ("optimiser", "learning_rte", 1.0, r"did you mean 'learning_rate'"),
        ("model", "nheads", 1, r"model \(autoencoder\): unknown key 'nheads'"),
        ("model", "name", "autoencodr", r"unknown model 'autoencodr' \(did you mean 'autoencoder'\?\)"),
        ("loss", "name", "si_sdrr", r"did you mean 'si_sdr'"),
        ("fit", "epochs", "many", r"'epochs': should be a valid integer, got 'many'"),
        ("fit", "epochs", 3.0, r"'epochs': should be a valid integer"),
        ("fit", "epochs", True, r"'epochs': should be a valid integer"),
        ("optimiser", "learning_rate", "1e-3", r"'learning_rate': should be a valid number, got '1e-3'"),
        ("optimiser", "learning_rate", float("nan"), r"learning_rate: nan is not a number a config may hold"),
        ("optimiser", "learning_rate", float("inf"), r"inf is not a number"),
        ("optimiser", "learning_rate", -1.0, r"learning_rate is -1.0; a positive number is needed"),
        ("optimiser", "algorithm", "adamv", r"'algorithm': should be 'adam' or 'adamw', got 'adamv' \(did you mean"),
        ("data", "randomiser", "phase_randm", r"got 'phase_randm' \(did you mean 'phase_random'\?\)"),
        ("data", "band_hz", [25.0], r"'band_hz"),
        ("data", "split", {"train": 0.9}, r"split: shares are"),
        ("data", "split", {"trian": 0.6}, r"unknown key 'split.trian' \(did you mean 'train'\?\)"),
        ("data", "clean", [], r"at least one clean"),
        ("data", "clean", [{"fils": ["a"]}], r"unknown key 'clean.0.fils' \(did you mean 'files'\?\)"),
        ("data", "clean", [{}], r"'clean.0.files' is missing"),
        ("fit", "score", "si_sdr", r"unknown score 'si_sdr' \(did you mean 'si_sdr_db'\?\)"),
        ("fit", "score", "mad", r"score 'mad' is won by an all-zero output; choose by one of si_sdr_db"),
        ("fit", "device", "gpu", r"device is 'gpu'; auto, cpu, cuda"),
        ("fit", "device", "cuda:x", r"device is 'cuda:x'"),
        ("fit", "seed", -1, r"seed is -1"),
        ("fit", "batch_size", 0, r"batch_size is 0; at least 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(run: RunConfig, section: str, key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as got:
        from_document(changed(run, section, key, value), "best.yaml")
    assert str(got.value).startswith(f"best.yaml: {section}")
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("section", ["data", "model", "loss"])
def test_a_missing_section_is_named(run: RunConfig, section: str) -> None:
    document = to_document(run)
    del document[section]
    with pytest.raises(ConfigError, match=f"section '{section}' is missing"):
        from_document(document, "a.yaml")


def test_sections_that_have_defaults_may_be_left_out(run: RunConfig) -> None:
    document = {key: value for key, value in to_document(run).items() if key not in ("optimiser", "schedule", "fit")}
    assert from_document(document, "a.yaml").fit == FitConfig()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([1], "a run is a table of sections, got list"),
        ({}, f"schema_version is missing; write schema_version: {SCHEMA_VERSION} at the top"),
        ({"schema_version": SCHEMA_VERSION + 1}, "use a newer Drivebeat"),
        ({"schema_version": SCHEMA_VERSION, "modle": {}}, "unknown key 'modle' .did you mean 'model'"),
        (
            {"schema_version": SCHEMA_VERSION, "data": {}, "loss": {}, "model": {}, "provenance": 3},
            "provenance: a table",
        ),
        (
            {"schema_version": SCHEMA_VERSION, "data": 3, "loss": {}, "model": {}},
            "data: a table of keys is needed, got 3",
        ),
    ],
)
def test_a_document_that_is_no_run_is_refused(document: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_document(document, "a.yaml")


def test_1e_4_in_hand_written_yaml_is_a_number(run: RunConfig, tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-4 as a text, for want of a point."""
    path = tmp_path / "a.yaml"
    for text, value in (("1e-4", 1e-4), ("2E3", 2e3), ("-1.5e+2", -150.0), (".5e1", 5.0)):
        path.write_text(f"x: {text}\n")
        assert read_document(path)["x"] == value
    document = to_document(run)
    document["optimiser"]["learning_rate"] = "THERE"
    path.write_text(yaml.safe_dump(document).replace("THERE", "1e-4"))
    assert read_run(path).optimiser.learning_rate == 1e-4


def test_an_unknown_ending_writes_nothing(run: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"written as \.yaml or \.json"):
        write_run(run, tmp_path / "a.toml")
    assert not list(tmp_path.iterdir())


def test_a_value_that_json_does_not_know_is_refused() -> None:
    import datetime

    with pytest.raises(ConfigError, match="date is not JSON serializable"):
        decode(FitConfig, {"epochs": datetime.date(2026, 11, 23)}, "fit")


def test_a_misspelt_key_inside_a_table_of_tables_is_named() -> None:
    from search.study.spec import StudySpec

    document = {
        "name": "s",
        "models": ["autoencoder"],
        "data": {"clean": [{"files": ["a"]}], "noise": [{"files": ["b"]}]},
        "ranges": {"gain": {"lwo": 1.0, "high": 2.0}},
    }
    with pytest.raises(ConfigError, match=r"unknown key 'ranges.gain.lwo' .did you mean 'low'"):
        decode(StudySpec, document, "study.toml")


@pytest.mark.parametrize("score", [name for name, score in SCORES.items() if not score.silence_wins])
def test_any_score_that_silence_cannot_win_may_choose(score: str) -> None:
    assert FitConfig(score=score).score == score


def test_values_are_set_by_name_or_by_section_and_name(run: RunConfig) -> None:
    changed = with_values(
        run, ["learning_rate=1e-4", "schedule.gain=0.25", "front.filter_ridge=0.05", "fit.device=cpu"]
    )
    assert changed.optimiser.learning_rate == 1e-4
    assert (changed.schedule.gain, changed.front.filter_ridge, changed.fit.device) == (0.25, 0.05, "cpu")
    assert with_values(run, []) == run
    assert dataclasses.replace(changed, optimiser=run.optimiser).data == run.data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate", "name=value is needed"),
        ("learning_rate=", "name=value is needed"),
        ("learning_rte=1", "did you mean 'learning_rate'"),
        ("optimiser.learning_rte=1", "unknown key 'learning_rte'"),
        ("optimiser.learning_rate=fast", "valid number"),
        ("fit.epochs.more=1", "is no table"),
        ("gain=[1", "--set 'gain=[1'"),
        ("gain=" + "[" * 3000 + "]" * 3000, "nested more than 50 levels deep"),
        ("gain=1" + "0" * 2000, "a number of 2001 characters"),
        ("provenance.x=1", "the provenance says where a run is from, and is not set"),
    ],
)
def test_a_value_that_cannot_be_set_is_refused_with_the_next_step(run: RunConfig, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as raised:
        with_values(run, [text])
    assert "\n" not in str(raised.value)


def test_a_name_of_several_sections_is_refused_with_the_choice(make_run: MakeRun) -> None:
    run = make_run(model=DENOISERS["conformer"]())
    with pytest.raises(ConfigError, match=r"data\.window_samples or model\.window_samples"):
        with_values(run, ["window_samples=512"])
    assert with_values(run, ["data.window_samples=512"]).data.window_samples == 512
