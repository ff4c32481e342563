"""What a finished trial shows: its note, bounded artifacts, the study's note and plots."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import plotly.io
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from optuna_dashboard import get_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from data.corpus import Corpus
from search.pages.notes import finish_note, note_of, put_note
from search.pages.study_page import update_pages
from search.pages.trial_artifacts import remove_artifacts, retained
from search.study.spec import ArtifactSpec
from search.study.study import Study
from search.trials import BY_SNR

End = Callable[..., optuna.Trial]


@pytest.fixture
def artifacts(tmp_path: Path) -> FileSystemArtifactStore:
    (tmp_path / "artifacts").mkdir()
    return FileSystemArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture
def end(tmp_path: Path, artifacts: FileSystemArtifactStore) -> End:
    """Ask, upload a picture, tell."""

    def one(study: Study, value: float | None, state: TrialState | None = None, **attributes: Any) -> optuna.Trial:
        trial = study.optuna.ask(dict(study.space.sampled))
        (tmp_path / "window.png").write_bytes(b"picture")
        upload_artifact(artifact_store=artifacts, file_path=str(tmp_path / "window.png"), study_or_trial=trial)
        trial.report(-3.0, 0)
        trial.report(-2.0, 1)
        known = {"run": "{}", "device": "cpu", "seconds": 75.0, "n_parameters": 4321, "worker": "host:1:2"}
        for name, given in {**known, **attributes}.items():
            trial.set_user_attr(name, given)
        study.optuna.tell(trial, value, state=state)
        return trial

    return one


def test_a_note_tells_scores_cost_device_reason_and_where_figure_and_sounds_are(
    bench: Any, make_spec: Any, end: End
) -> None:
    study = bench.create(make_spec())
    by_snr = {
        "+0": {"si_sdr_db": 3.0},
        "-5": {"si_sdr_db": 1.234, "event_f1": 0.5, "hr_within_5_bpm": 0.25},
        "-10": {"si_sdr_db": -4.0},
    }
    trial = end(
        study, None, TrialState.PRUNED, reason="behind the others after epoch 2", best_epoch=1, **{BY_SNR: by_snr}
    )
    finish_note(study.optuna, bench.engine, trial._trial_id)
    note = get_note(trial)
    assert note.startswith("**pruned, score -2.000**, 2 epochs (best: 2), 4,321 parameters, 75 s, on cpu of host")
    assert "**Why pruned**: behind the others after epoch 2" in note
    assert note.index("| -10 dB | -4.00 | - | - |") < note.index("| -5 dB | 1.23 | 0.50 | 25% |")
    assert "| 0 dB | 3.00 | - | - |" in note
    assert f"](/artifacts/{study.optuna._study_id}/{trial._trial_id}/" in note
    assert f"| width | {trial.params['width']} |" in note


def test_a_failed_trial_says_why_and_a_reason_is_no_markdown(bench: Any, make_spec: Any, end: End) -> None:
    study = bench.create(make_spec())
    trial = end(study, None, TrialState.FAIL, reason="ValueError: <b>no</b> [x](y)")
    finish_note(study.optuna, bench.engine, trial._trial_id)
    assert "**Why failed**: ValueError: \\<b\\>no\\</b\\> \\[x\\](y)" in get_note(trial)


def test_an_infeasible_trial_says_over_which_limit() -> None:
    trial = create_trial(state=TrialState.PRUNED, constraints={"n_parameters": 12.0, "memory": -1.0})
    assert "**Infeasible**: over its limit in n\\_parameters by 12" in note_of(trial, 1).replace("n_p", "n\\_p")


def test_a_note_that_somebody_edited_is_left_alone(bench: Any, make_spec: Any, end: End) -> None:
    study = bench.create(make_spec())
    trial = end(study, 1.0)
    put_note(bench.storage, study.optuna._study_id, trial._trial_id, "my own words", 2)
    finish_note(study.optuna, bench.engine, trial._trial_id)
    assert get_note(trial) == "my own words"


def test_the_best_and_the_latest_keep_their_artifacts() -> None:
    def trial(number: int, value: float | None, **more: Any) -> optuna.trial.FrozenTrial:
        made = create_trial(value=value, state=TrialState.COMPLETE if value is not None else TrialState.PRUNED, **more)
        made.number = number
        assert made.datetime_complete is not None
        made.datetime_complete = made.datetime_complete.replace(year=2026, month=1, day=1 + number)
        return made

    values = (5.0, 1.0, 9.0, 7.0, None, 2.0)
    trials = [trial(i, v, constraints={"memory": 1.0 if i == 2 else -1.0}) for i, v in enumerate(values)]
    assert retained(trials, ArtifactSpec(best=2, last=1), StudyDirection.MAXIMIZE) == {3, 0, 5}  # 2 is infeasible
    assert retained(trials, ArtifactSpec(best=1, last=2), StudyDirection.MINIMIZE) == {1, 4, 5}


def test_others_lose_them_once_and_their_notes_say_so(
    bench: Any, make_spec: Any, end: End, artifacts: FileSystemArtifactStore, tmp_path: Path
) -> None:
    study = bench.create(make_spec(artifacts={"best": 1, "last": 1}, budget={"trials": 9}))
    trials = [end(study, value) for value in (5.0, 1.0, 2.0, 0.0)]
    assert remove_artifacts(study, study.optuna.get_trials(), bench.engine, artifacts, print) == 2
    assert remove_artifacts(study, study.optuna.get_trials(), bench.engine, artifacts, print) == 0
    assert len(list((tmp_path / "artifacts").iterdir())) == 2
    assert ["were removed" in get_note(trial) for trial in trials] == [False, True, True, False]
    assert "![" not in get_note(trials[1])


def test_a_store_that_does_not_answer_costs_nothing_but_is_said(bench: Any, make_spec: Any, end: End) -> None:
    class Away:
        def remove(self, artifact_id: str) -> None:
            raise OSError("no route to host")

    study = bench.create(make_spec(artifacts={"best": 1, "last": 1}))
    for value in (5.0, 1.0, 2.0):
        end(study, value)
    said: list[str] = []
    assert remove_artifacts(study, study.optuna.get_trials(), bench.engine, Away(), said.append) == 0  # type: ignore[arg-type]
    assert said == ["artifacts of trial 1 are not removed yet: no route to host"]


def test_how_many_are_kept_may_change_and_must_be_one_at_least(bench: Any, make_spec: Any) -> None:
    bench.create(make_spec())
    assert bench.create(make_spec(artifacts={"best": 3, "last": 4})).spec.artifacts == ArtifactSpec(3, 4)
    with pytest.raises(ValueError, match="best is 0; at least 1"):
        ArtifactSpec(best=0)


def test_the_studys_page_has_a_note_and_plots_and_is_drawn_once_a_minute(
    bench: Any, make_spec: Any, end: End, artifacts: FileSystemArtifactStore, corpus: Corpus
) -> None:
    study = bench.create(make_spec(budget={"trials": 9}))
    for value, state in ((1.5, None), (None, TrialState.PRUNED), (2.5, None)):
        trial = end(study, value, state, **{"si_sdr_db@-5": 1.0, "si_sdr_db@+0": 2.0})
    update_pages(study, bench.engine, trial._trial_id, artifacts, corpus, print)
    note = get_note(study.optuna)
    assert "**maximize si_sdr_db** of autoencoder" in note
    assert "**Best so far: +2.500, trial 2**. Export and train it: `drivebeat export tiny -o best.yaml`" in note
    assert study.fingerprint in note
    assert "| width | one of 8, 16 |" in note
    plots = get_plotly_graph_objects(bench.storage.get_study_system_attrs(study.optuna._study_id))
    assert sorted(plots) == ["1-snr", "2-curves", "3-parameters", "5-workers"]
    figures = {name: plotly.io.from_json(text) for name, text in plots.items()}  # validates each
    names = [trace.name for trace in figures["1-snr"].data]
    assert {"nlms", "identity", "trial 2", "trial 0"} <= set(names)
    looks = [(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in figures["1-snr"].data]
    assert len(set(looks)) == len(looks), "no two lines look alike"
    assert {figure.layout.paper_bgcolor for figure in figures.values()} == {"rgba(0,0,0,0)"}, "on a dark page too"
    (pruned,) = [trace for trace in figures["2-curves"].data if trace.name == "pruned"]
    assert "x" in pruned.marker.symbol, "where trial 1 was pruned"

    again = end(study, 9.0)
    update_pages(study, bench.engine, again._trial_id, artifacts, corpus, print)
    assert "+2.500" in get_note(study.optuna)  # not a minute later
