"""What a command does not need, it does not import."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.study.finished import EXHAUSTED, stop_reason
from search.study.record import load_records, plugin_problem
from search.study.study import decode_study
from tests.support.program import ROOT, environment
from training.plugins.plugin import plugin_of

HEAVY = ("torch", "optuna", "sqlalchemy", "matplotlib", "scipy", "numpy", "pandas", "sklearn", "plotly")
PROGRAM = """
import json, sys
from search.cli.app import main
sys.argv = ["drivebeat", *json.loads(sys.argv[1])]
try:
    main()
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print("\\n" + json.dumps(sorted(loaded)))
"""


def printed_by(program: str, *words: str) -> Any:
    """The JSON in the last line of what `program` prints in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(words)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("words", [["--help"], ["work", "--help"], ["data", "--help"]], ids=" ".join)
def test_help_imports_none_of_the_heavy_libraries(words: list[str]) -> None:
    assert set(printed_by(PROGRAM, *words)) & set(HEAVY) == set()


@pytest.mark.parametrize(
    "command", ["show", "show --json", "watch tiny --once", "watch tiny --once --json", "workers --json", "init"]
)
def test_commands_that_only_look_on_import_no_torch(bench: Any, make_spec: Any, command: str) -> None:
    """Of a study with a finished trial, budget left, and a range that never ends."""
    study = bench.create(make_spec(budget={"trials": 9}))
    study.optuna.tell(study.optuna.ask(fixed_distributions=dict(study.space.sampled)), 1.0)
    loaded = set(printed_by(PROGRAM, *command.split(), "--storage", bench.url))
    assert loaded & {"torch", "scipy", "matplotlib", "pandas", "sklearn", "plotly"} == set()


def test_a_study_with_a_plugin_is_listed_without_torch(bench: Any, make_spec: Any, plugins: Path) -> None:
    """The plug-in is not executed, only looked up in the trust file."""
    study = bench.create(make_spec(plugins=[dataclasses.asdict(plugin_of("fails.py", "1 / 0\n"))]))
    study.optuna.tell(study.optuna.ask(fixed_distributions=dict(study.space.sampled)), 1.0)
    loaded = set(printed_by(PROGRAM, "watch", "tiny", "--once", "--storage", bench.url))
    assert loaded & {"torch", "scipy", "matplotlib", "pandas", "sklearn", "plotly"} == set()
    (record,) = load_records(bench.storage, "tiny")
    assert "plug-in fails.py" in plugin_problem(record)


def test_a_study_not_decoded_tells_what_the_decoded_one_does(bench: Any, make_spec: Any) -> None:
    study = bench.create(make_spec(name="more", models=["autoencoder", "identity"], budget={"trials": 9, "hours": 2.0}))
    (found, other) = load_records(bench.storage, "more")
    assert [found.name, other.name] == ["more-autoencoder", "more-identity"]
    for name in ("name", "family", "metric", "epochs", "hours"):
        assert getattr(found, name) == getattr(study, name) == getattr(decode_study(found), name)
    assert (found.family, found.hours) == ("autoencoder", 2.0)


def test_a_finite_space_is_over_when_its_last_point_was_tried_and_not_before(bench: Any, make_spec: Any) -> None:
    study = bench.create(make_spec(search=["width"], budget={"trials": 9}))  # one of 8, 16
    (found,) = load_records(bench.storage)
    assert stop_reason(found, bench.engine) == ""
    for width, said in ((8, ""), (16, EXHAUSTED)):
        study.optuna.enqueue_trial({"width": width})
        assert stop_reason(found, bench.engine) == ""
        study.optuna.tell(study.optuna.ask(fixed_distributions=dict(study.space.sampled)), 1.0)
        assert stop_reason(found, bench.engine) == stop_reason(study, bench.engine) == said


@pytest.mark.parametrize("trial_id", [None, 3])
def test_notes_and_plots_are_kept_where_the_dashboard_looks_for_them(trial_id: int | None) -> None:
    """Its names are written out in search, so that a worker need not import it; an upgrade that moves them is seen."""
    from optuna_dashboard import _custom_plot_data, _note

    from search.pages.notes import ATTRIBUTE_LENGTH, note_str_key_prefix, note_ver_key, split_text
    from search.pages.study_page import PLOT_DATA

    body = "a note's text, " * 500
    assert len(body) > 2 * ATTRIBUTE_LENGTH
    assert note_ver_key(trial_id) == _note.note_ver_key(trial_id)
    assert split_text(body, note_str_key_prefix(trial_id)) == _note.split_body(body, trial_id)
    assert PLOT_DATA == _custom_plot_data.SYSTEM_ATTR_PLOT_DATA
    assert split_text(body, PLOT_DATA) == _custom_plot_data.split_plot_data(body, PLOT_DATA)


def test_a_worker_imports_neither_the_dashboard_nor_what_draws() -> None:
    program = (
        "import json, sys, search.worker.worker; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    )
    assert set(printed_by(program)) & {"optuna_dashboard", "matplotlib", "sklearn", "plotly"} == set()
