"""Studies in a database: made once, equal ones left alone, others refused saying what differs."""

import json
import math
from typing import Any

import optuna
import pytest

from search.errors import StudyError
from search.sampling.samplers import SamplerSpec
from search.study.record import readable_records
from search.study.spec import spec_document
from search.study.study import create, load_studies, load_study
from search.trials import FAMILY, SPEC


def test_a_study_comes_back_as_it_was_made(bench_of_each: Any, make_spec: Any) -> None:
    spec = make_spec()
    made = bench_of_each.create(spec)
    loaded = load_study("tiny", bench_of_each.storage)
    assert loaded.spec == spec
    assert dict(loaded.space.sampled) == dict(made.space.sampled)
    assert loaded.fingerprint == made.fingerprint
    assert loaded.optuna.metric_names == ["si_sdr_db"]
    assert bench_of_each.progress().budget == 4


def test_made_again_a_study_takes_a_new_budget_and_new_points_once(bench_of_each: Any, make_spec: Any) -> None:
    bench_of_each.create(make_spec())
    more = make_spec(budget={"trials": 9}, enqueue=[{"width": 8, "learning_rate": 0.002}])
    bench_of_each.create(more)
    bench_of_each.create(more)
    assert bench_of_each.progress().budget == 9
    waiting = load_study("tiny", bench_of_each.storage).optuna.get_trials()
    assert [trial.system_attrs["fixed_params"] for trial in waiting] == [{"width": 8, "learning_rate": 0.002}]


def test_clean_windows_among_the_snrs_make_no_other_study(bench: Any, make_spec: Any, data_section: Any) -> None:
    """And none of another version: what is stored is JSON without infinity, as without them."""
    made = bench.create(make_spec())
    listed = {**data_section["validation"], "snrs_db": [*data_section["validation"]["snrs_db"], math.inf]}
    again = bench.create(make_spec(data={**data_section, "validation": listed}))
    assert again.identity == made.identity
    assert again.spec == made.spec
    document = json.dumps(spec_document(again.spec), allow_nan=False)
    assert document == json.dumps(spec_document(made.spec), allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranges": {"width": {"choices": [8, 16, 24]}}}, r"width \(one of 8, 16, now one of 8, 16, 24\)"),
        ({"search": ["width"]}, r"learning_rate \(0.0001 .. 0.01 log, now not in it\)"),
        ({"fixed": {"levels": 3}}, r"levels \(= 2.0, now = 3.0\)"),
        ({"epochs": 4}, r"epochs \(3, now 4\)"),
        ({"seed": 7}, r"seed \(0, now 7\)"),
        ({"sampler": {"name": "tpe"}}, r"sampler.name \('random', now 'tpe'\)"),
        ({"loss": "l1"}, r"loss \('si_sdr', now 'l1'\)"),
        ({"models": ["identity"], "fixed": {}, "ranges": {}, "search": []}, r"model \(autoencoder, now identity\)"),
    ],
)
def test_a_study_that_exists_with_another_space_is_refused_saying_what_differs(
    changes: dict[str, Any], words: str, bench: Any, make_spec: Any
) -> None:
    bench.create(make_spec())
    with pytest.raises(StudyError, match=words) as told:
        bench.create(make_spec(**changes))
    assert "\n" not in str(told.value)
    assert load_study("tiny", bench.storage).spec == make_spec()


def test_other_recordings_under_the_same_name_are_refused(bench: Any, make_spec: Any, data_section: Any) -> None:
    bench.create(make_spec())
    (noise,) = data_section["noise"]
    swapped = {**data_section, "noise": [{"files": [noise["files"][0].replace("60km", "idle")]}]}
    with pytest.raises(StudyError, match=r"the recordings \(fingerprint \w+, now \w+\)"):
        bench.create(make_spec(data=swapped))


def test_no_family_is_made_where_one_is_refused(bench: Any, make_spec: Any) -> None:
    """Nothing half made."""
    families = {"models": ["autoencoder", "wave_unet"], "fixed": {"batch_size": 8}}
    bench.create(make_spec(name="tiny-wave_unet", models=["wave_unet"], fixed={}, ranges={}))
    with pytest.raises(StudyError, match="'tiny-wave_unet' exists with other settings"):
        bench.create(make_spec(**families))
    assert optuna.get_all_study_names(bench.storage) == ["tiny-wave_unet"]


def test_making_that_was_broken_off_is_done_again(bench: Any, make_spec: Any) -> None:
    """The study file is written last, so a study without one and without trials is nobody's."""
    half = optuna.create_study(storage=bench.storage, study_name="tiny", direction="maximize")
    half.set_user_attr(FAMILY, "autoencoder")
    bench.create(make_spec())
    assert SPEC in load_study("tiny", bench.storage).optuna.user_attrs


def test_a_study_of_somebody_else_is_neither_taken_nor_loaded(bench: Any, make_spec: Any) -> None:
    foreign = optuna.create_study(storage=bench.storage, study_name="tiny", direction="maximize")
    foreign.tell(foreign.ask(), 1.0)
    with pytest.raises(StudyError, match="exists and was not created by Drivebeat; choose another name"):
        bench.create(make_spec())
    with pytest.raises(StudyError, match="was not created by Drivebeat"):
        load_study("tiny", bench.storage)
    assert readable_records(bench.storage) == ([], {})


def test_an_unknown_study_is_named_with_the_near_one(bench: Any, make_spec: Any) -> None:
    with pytest.raises(StudyError, match=r"no study 'tiny'; there is none yet; make one: drivebeat create"):
        load_study("tiny", bench.storage)
    bench.create(make_spec())
    with pytest.raises(StudyError, match=r"no study 'tinny' \(did you mean 'tiny'\?\); known: tiny"):
        load_studies("tinny", bench.storage)


def test_a_study_files_name_stands_for_all_its_families(bench: Any, make_spec: Any) -> None:
    spec = make_spec(models=["autoencoder", "wave_unet"], fixed={"batch_size": 8})
    create(spec, bench.storage, bench.engine)
    assert [s.name for s in load_studies("tiny", bench.storage)] == ["tiny-autoencoder", "tiny-wave_unet"]
    assert [s.space.model.name for s in load_studies("tiny-wave_unet", bench.storage)] == ["wave_unet"]


def test_the_stored_study_file_is_plain_json(bench: Any, make_spec: Any) -> None:
    """A study must load in a later version, so it is kept as its document and not as a pickle."""
    made = bench.create(make_spec())
    document = json.loads(made.optuna.user_attrs[SPEC])
    assert document["sampler"] == {"name": "random", "startup_trials": SamplerSpec().startup_trials}
