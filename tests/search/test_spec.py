"""Study files: read whole and strictly; every mistake is named with where it stands and what to do."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from data.config import AugmentConfig
from models import DENOISERS
from search.study.spec import StudySpec, part_of, read_spec, run_of, space_of, spec_document, study_names
from training.decode import decode
from training.errors import ConfigError

STUDIES = sorted((Path(__file__).parents[2] / "search" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_example_study_reads_and_comes_back_from_its_document(path: Path) -> None:
    spec = read_spec(path)
    assert decode(StudySpec, spec_document(spec), "document") == spec
    for model in spec.models:
        run_of(spec, space_of(spec, model), {})


def test_there_are_the_examples_that_the_readme_names() -> None:
    assert {"demo", "wave_unet_transformer"} <= {path.stem for path in STUDIES}


def test_a_study_of_one_family_has_its_name_and_of_several_a_name_for_each(make_spec: Any) -> None:
    assert study_names(make_spec()) == {"autoencoder": "tiny"}
    several = make_spec(models=["autoencoder", "wave_unet"], search=[], ranges={}, fixed={})
    assert study_names(several) == {"autoencoder": "tiny-autoencoder", "wave_unet": "tiny-wave_unet"}


def test_a_name_that_some_families_have_concerns_those(make_spec: Any) -> None:
    spec = make_spec(
        models=["autoencoder", "wave_unet_transformer", "identity"],
        search=["nhead", "learning_rate"],
        fixed={"kernel": 3, "batch_size": 8},
        ranges={"encoder_layers": {"low": 1, "high": 2}},
        enqueue=[{"nhead": 4, "learning_rate": 1e-3}, {"nhead": 2}],
    )
    spaces = {model: space_of(spec, model) for model in spec.models}
    assert set(spaces["wave_unet_transformer"].sampled) == {"nhead", "learning_rate", "encoder_layers"}
    assert set(spaces["autoencoder"].sampled) == {"learning_rate"} == set(spaces["identity"].sampled)
    assert dict(spaces["autoencoder"].fixed) == {"kernel": 3, "batch_size": 8}
    assert dict(spaces["wave_unet_transformer"].fixed) == {"batch_size": 8}
    assert [part_of(point, spaces["autoencoder"]) for point in spec.enqueue] == [{"learning_rate": 1e-3}, {}]


def test_a_family_with_none_of_the_searched_names_is_not_searched_over_all_of_its_own(make_spec: Any) -> None:
    spec = make_spec(models=["autoencoder", "wave_unet_transformer"], search=["nhead"], fixed={}, ranges={})
    assert not space_of(spec, "autoencoder").sampled


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ["wave_uent"]}, r"models.*'wave_uent' \(did you mean 'wave_unet'\?\)"),
        ({"models": []}, "at least one family"),
        ({"models": ["autoencoder", "autoencoder"]}, "each once"),
        ({"loss": "si_sdrr"}, r"loss.*\(did you mean 'si_sdr'\?\)"),
        ({"metric": "si_sdr"}, r"metric.*\(did you mean 'si_sdr_db'\?\)"),
        ({"metric": "snr_improvement_db"}, "is best for silence; choose one of .*si_sdr_db"),
        ({"direction": "minimize"}, "si_sdr_db is to maximize"),
        ({"name": "a/b"}, "name: 'a/b' holds '/'"),
        ({"name": "x" * 201}, "has 201 bytes; a name has 1 to 200 printable bytes of UTF-8"),
        ({"epochs": 0}, "epochs is 0; at least 1"),
        ({"epoch": 3}, r"unknown key 'epoch' \(did you mean 'epochs'\?\)"),
        ({"budget": {"trails": 3}}, r"unknown key 'budget.trails' \(did you mean 'trials'\?\)"),
        ({"budget": {"trials": 0}}, "trials is 0; at least 1"),
        ({"budget": {"hours": -1}}, "hours is -1"),
        ({"sampler": {"name": "tpee"}}, "sampler.name.*'tpee'"),
        ({"pruner": {"reduction_factor": 1}}, "reduction_factor is at least 2"),
        ({"constraints": {"max_parameters": 0}}, "max_parameters is 0; a positive number"),
        ({"search": ["width", "learning_rte"]}, r"'learning_rte' \(did you mean 'learning_rate'\?\)"),
        ({"fixed": {"nhead": 8}}, "model autoencoder with loss si_sdr has no parameter 'nhead'"),
        ({"fixed": {"epochs": 3}}, "'epochs' is a setting of the study; write epochs = ... at the top"),
        ({"fixed": {"score": "prd"}}, "write metric = ... at the top"),
        ({"enqueue": [{"widht": 8}]}, r"'widht' \(did you mean 'width'\?\)"),
        ({"enqueue": [{"levels": 2}]}, r"enqueue\[0\]: 'levels' is not searched; searched: learning_rate, width"),
        ({"enqueue": [{"width": 24}]}, r"enqueue\[0\]: width = 24 lies outside its range, one of 8, 16"),
        ({"enqueue": [{"width": 8}, {"learning_rate": "fast"}]}, r"enqueue\[1\]: learning_rate = 'fast' lies outside"),
        ({"sampler": {"name": "grid"}}, "grid: learning_rate has no list of values; give ranges.learning_rate"),
        (
            {"sampler": {"name": "grid"}, "ranges": {"learning_rate": {"low": 0.001, "high": 0.01, "step": 1e-7}}},
            "grid: 360,004 points, at most 20,000 are allowed; fix or narrow a parameter",
        ),
        ({"data": {"clean": []}}, "data"),
    ],
)
def test_a_mistake_is_named_in_one_line_with_its_file(changes: dict[str, Any], words: str, make_spec: Any) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        make_spec(**changes)
    assert str(told.value).startswith("tiny.toml: ")
    assert "\n" not in str(told.value)


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: no such file"):
        read_spec(tmp_path / "gone.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = 'x'\nmodels = = 3\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: .*line 2"):
        read_spec(broken)


def test_a_key_that_is_nearly_one_of_a_study_file_makes_it_no_run(study_document: Any, tmp_path: Path) -> None:
    """`model` of a run is a table."""
    path = tmp_path / "study.json"
    document = {**study_document(), "model": ["autoencoder"]}
    del document["models"]
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"unknown key 'model' \(did you mean 'models'\?\)"):
        read_spec(path)
    path.write_text(json.dumps({**document, "model": {"name": "autoencoder"}}))
    with pytest.raises(ConfigError, match="is a run, not a study file"):
        read_spec(path)


def test_every_family_can_be_searched_with_no_more_than_its_name(make_spec: Any) -> None:
    spec = make_spec(models=sorted(DENOISERS), search=[], fixed={}, ranges={})
    assert all(space_of(spec, model).sampled for model in spec.models)


def test_augmentation_is_searched_where_it_is_named_and_only_there(make_spec: Any) -> None:
    """Beside what the study's data say of it; what trials are scored on stays the same."""
    named = make_spec(search=["learning_rate"], ranges={"tempo": {"low": 0.0, "high": 0.2}}, fixed={"polarity": 0.5})
    space = space_of(named, named.models[0])
    assert set(space.sampled) == {"learning_rate", "tempo"}
    run = run_of(named, space, {"learning_rate": 1e-3, "tempo": 0.15})
    assert run.data.augment == replace(named.data.augment, tempo=0.15, polarity=0.5)
    assert replace(run.data, augment=named.data.augment) == named.data
    every = make_spec(search=[], fixed={}, ranges={})
    assert not set(space_of(every, every.models[0]).sampled) & {field.name for field in fields(AugmentConfig)}
