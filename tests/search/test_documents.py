"""The documents of --json: each command gives one as its class, its JSON Schema and the guide's page say."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import typer
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState
from scipy.io import wavfile

import drivebeat
from data.config import DataConfig
from models.autoencoder import AutoencoderConfig
from models.live import LiveConfig
from models.tcn_mask import TcnMaskConfig
from objectives.losses import NegSiSdrConfig
from scripts.machines_page import PAGE, written
from search.cli.app import app, main
from search.documents.all import DOCUMENTS, schema, type_text
from search.storage.open import open_storage
from search.study.study import load_study
from tests.support.plugins import model_source, undone, write_plugin
from tests.support.program import ROOT
from tests.support.study import tiny_data, tiny_study, toml_of
from training.config import FitConfig, RunConfig, write_run
from training.decode import decode

# Document -> commands, each with the exit code that it has in the folder `lab`.
CASES: dict[str, tuple[tuple[str, int], ...]] = {
    "trials": (("show tiny --json", 0), ("show two --json", 0)),
    "studies": (("show --json", 0), ("watch tiny --once --json", 0), ("watch two --once --json", 0)),
    "study_comparison": (("show --across --json", 0), ("show tiny two --json", 0)),
    "models": (("show --model wave_unet --json", 0),),
    "workers": (("workers --json", 0),),
    "training": (("train run.yaml -o runs/again --json", 0),),
    "evaluation": (("evaluate runs/a --json", 0),),
    "evaluation_by_part": (("evaluate runs/a --by recording --json", 0),),
    "run_comparison": (("compare runs/a --classical --resamples 100 --json", 0),),
    "denoised": (
        ("apply runs/a data/60km.wav -o e.wav --json", 0),
        ("apply runs/a data/60km.wav -o e.wav --no-beats --json", 0),
    ),
    "denoised_recordings": (
        ("apply runs/a data/60km.wav data/stop.wav -o e --json", 0),
        ("apply runs/a data/60km.wav data/broken.wav -o f --json", 2),
    ),
    "exported_model": (
        ("export-model runs/a -o a.onnx --json", 0),
        ("export-model runs/a -o b.onnx --check --json", 0),
    ),
    "live_second": (("live runs/live --source data/60km.wav --json", 0),),
    "pretrained": (("pretrained --json", 0),),
    "recordings": (
        ("data info data/60km.wav data/stop.wav --json", 0),
        ("data info data/60km.wav data/broken.wav --json", 2),
    ),
    "synthetic_recordings": (("data synth --out made --minutes 0.2 --speeds 60 --json", 0),),
    "collection": (("data get cinc2016 --from published --json", 0),),
    "checks": (
        ("doctor --json", 0),
        ("doctor two --json", 0),
        ("doctor gone --json", 1),
    ),
    "plugin_check": (("check lab_loss.py --json", 0), ("check faulty.py --json", 2)),
    "plugins": (("trust lab_loss.py --json", 0), ("trust lab_loss.py --show --json", 0)),
}
PAIRS = [(name, words, code) for name, cases in CASES.items() for words, code in cases]


def run(*words: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it printed on standard output."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", ["drivebeat", *words])
        with pytest.raises(SystemExit) as end:
            main()
    return int(str(end.value.code)), out.getvalue()


@pytest.fixture(scope="module")
def lab(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with recordings, a searched study, one that waits, a trained run and plug-ins."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch, undone():
        patch.chdir(folder)
        for name in ("DRIVEBEAT_STORAGE", "DRIVEBEAT_ARTIFACTS", "DRIVEBEAT_TRUST", "DRIVEBEAT_TRACKERS"):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        Path("data").mkdir()
        for recording in recordings.rglob("*.wav"):
            Path("data", recording.name).write_bytes(recording.read_bytes())
        Path("data/broken.wav").write_text("no sound")
        data = tiny_data(folder / "data")
        Path("tiny.toml").write_text(toml_of(tiny_study(data, epochs=2, budget={"trials": 2})))
        Path("two.toml").write_text(toml_of(tiny_study(data, name="two", epochs=2)))
        assert run("create", "tiny.toml")[0] == run("create", "two.toml")[0] == 0
        assert run("work", "tiny", "--threads", "1")[0] == 0
        others(folder)
        fit = FitConfig(epochs=1, batch_size=4, steps_per_epoch=2, threads=1)
        model = AutoencoderConfig(levels=2, width=4)
        config = RunConfig(data=decode(DataConfig, data, "data"), model=model, loss=NegSiSdrConfig(), fit=fit)
        write_run(config, folder / "run.yaml")
        assert run("train", "run.yaml", "-o", "runs/a")[0] == 0
        section = decode(DataConfig, {**data, "band_phase": "minimum"}, "data")
        causal = TcnMaskConfig(filters=16, width=8, hidden=16, blocks=1, repeats=1)
        live = RunConfig(data=section, model=causal, loss=NegSiSdrConfig(), fit=fit, live=LiveConfig(causal=True))
        write_run(live, folder / "live.yaml")
        assert run("train", "live.yaml", "-o", "runs/live")[0] == 0
        assert run("new", "loss", "lab_loss.py")[0] == 0
        faulty = model_source().replace("] = 8", "] = 32")  # a default outside of its range
        write_plugin(folder, "faulty.py", faulty)
        Path("published/training-a").mkdir(parents=True)
        rate_hz, samples = wavfile.read("data/stop.wav")
        wavfile.write("published/training-a/a0001.wav", rate_hz, samples)
        yield folder


def others(folder: Path) -> None:
    """Add trials to study `two` as other programs leave them: of each state, and with numbers that are not finite."""
    study = load_study("two", open_storage(f"sqlite:///{folder}/studies.db")).optuna
    space: dict[str, BaseDistribution] = {}
    study.tell(study.ask(space), 1.5)
    pruned = study.ask(space)
    pruned.report(float("nan"), 0)
    pruned.set_user_attr("si_sdr_db@-5", float("inf"))
    study.tell(pruned, state=TrialState.PRUNED)
    study.tell(study.ask(space), state=TrialState.FAIL)
    running = study.ask(space)
    running.report(0.5, 0)
    study.enqueue_trial({"width": 8, "learning_rate": 0.001})


@pytest.fixture
def inside(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `lab` as the working directory."""
    monkeypatch.chdir(lab)
    return lab


def strict(text: str) -> Any:
    """The one document that `text` is; NaN and Infinity are not JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "words", "code"), PAIRS, ids=[words for _, words, _ in PAIRS])
def test_a_command_prints_the_document_that_is_described(name: str, words: str, code: int, inside: Path) -> None:
    """Standard output is one document: every key of its class with its type, and no other key.

    That of `live` is one in each line.
    """
    ended, out = run(*words.split())
    assert ended == code
    for text in out.splitlines() if name == "live_second" else (out,):
        found = strict(text)
        assert (found["document"], found["schema_version"]) == tuple(DOCUMENTS[name].stamp().values())
        read = DOCUMENTS[name].model_validate_json(text, strict=True)
        assert json.loads(read.model_dump_json()) == found, "a key that the class does not have"
        jsonschema.Draft202012Validator(schema(name)).validate(found)


def test_every_command_with_json_and_every_document_has_a_case() -> None:
    with_json = set(commands_with_json(typer.main.get_command(app), ()))
    assert len(with_json) >= 12
    cases = [words.split() for _, words, _ in PAIRS]
    assert {words for words in with_json if not any(case[: len(words)] == [*words] for case in cases)} == set()
    assert set(CASES) == set(DOCUMENTS)


def commands_with_json(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command that has the option --json."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands_with_json(inner, (*words, name))
    elif any("--json" in option.opts for option in command.params):
        yield words


def test_only_one_place_prints_documents() -> None:
    """A command that printed JSON by itself would have no version."""
    printing = [
        path.name for path in (ROOT / "search" / "cli").glob("*.py") if "json.dumps" in path.read_text(encoding="utf-8")
    ]
    assert sorted(printing) == ["output.py", "schema.py"]


def test_the_trials_are_those_of_python(inside: Path) -> None:
    """All of them, with equal values: complete, pruned, failed, running and waiting ones."""
    (study,) = strict(run("show", "two", "--json")[1])["studies"]
    table = drivebeat.study("two").trials
    assert [trial["state"] for trial in study["trials"]] == [*table["state"]]
    assert {*table["state"]} == {"complete", "pruned", "failed", "running", "waiting"}
    pruned = study["trials"][1]
    assert (pruned["value"], pruned["reports"], pruned["scores"]) == (
        None,
        [{"epoch": 1, "score": None}],
        {"si_sdr_db@-5": None},
    )
    (searched,) = strict(run("show", "tiny", "--json")[1])["studies"]
    best = drivebeat.study("tiny").best
    assert best is not None
    assert (searched["best_trial"], searched["metric"], searched["direction"]) == (best.number, "si_sdr_db", "maximize")
    trial = searched["trials"][best.number]
    assert (trial["value"], trial["params"]) == (best.value, dict(best.params))
    assert [report["epoch"] for report in trial["reports"]] == [1, 2]
    assert pd.Timestamp(trial["started"]).tz is not None


def test_csv_has_the_columns_and_values_of_the_table_in_python(inside: Path) -> None:
    code, out = run("show", "tiny", "--csv")
    read = pd.read_csv(io.StringIO(out))
    table = drivebeat.study("tiny").trials
    assert code == 0
    assert [*read.columns] == ["study", *table.columns]
    assert [*read["study"]] == ["tiny", "tiny"]
    for column in ("number", "state", "value", "params_width", "si_sdr_db@-5", "training_s"):
        assert [*read[column]] == [*table[column]]
    both = pd.read_csv(io.StringIO(run("show", "tiny", "two", "--csv")[1]))
    assert both.groupby("study").size().to_dict() == {"tiny": 2, "two": 5}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("show --csv", "--csv needs a STUDY"),
        ("show two --csv --json", "--csv needs a STUDY"),
        ("show two --across --csv", "--csv needs a STUDY"),
        ("show --models --csv", "--csv prints trials"),
        ("show towo --json", "no study 'towo' (did you mean 'two'?)"),
        ("schema trails", "no document 'trails' (did you mean 'trials'?)"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_no_document(
    words: str, why: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = run(*words.split())
    said = capsys.readouterr().err
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert why in said


def test_schema_lists_the_documents_and_prints_one(inside: Path) -> None:
    listed = run("schema")[1].splitlines()
    assert [line.split()[:2] for line in listed] == [[name, "1:"] for name in DOCUMENTS]
    printed = strict(run("schema", "trials")[1])
    jsonschema.Draft202012Validator.check_schema(printed)
    assert printed["properties"]["document"]["const"] == "trials"


def test_the_page_of_the_guide_is_written_from_the_classes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "run: python -m scripts.machines_page"


def test_a_version_keeps_its_keys() -> None:
    """tests/golden/documents.json has the keys and types of each version.

    A key that is removed, renamed or gets another type needs a higher `schema_version`; a new one a line in the file.
    """
    golden = json.loads((ROOT / "tests" / "golden" / "documents.json").read_text(encoding="utf-8"))
    assert {name: keys_of(name) for name in DOCUMENTS} == golden


def keys_of(name: str) -> dict[str, str]:
    """Return "Object.key" -> type of everything in a document, with its version."""
    found = schema(name)
    objects = {name: found, **found.get("$defs", {})}
    return {
        f"{title}.{key}": type_text(value)
        for title, part in objects.items()
        for key, value in part["properties"].items()
    }


if __name__ == "__main__":  # writes the file, for new keys
    os.chdir(ROOT)
    text = json.dumps({name: keys_of(name) for name in DOCUMENTS}, indent=1)
    Path("tests/golden/documents.json").write_text(text + "\n", encoding="utf-8")
