"""Entry points: what packages offer is found by name, a broken one ends nothing, and the origin is recorded."""

import dataclasses
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from data.entry_points import GROUPS, distribution_of, load_installed
from data.errors import DataError
from data.readers.read import READERS, read
from models import DENOISERS
from objectives.losses import LOSSES
from objectives.metrics import METRICS
from search.sampling.samplers import SAMPLERS, SamplerSpec, build_sampler
from tests.support.plugins import METRIC, SAMPLER, install, model_source
from tests.support.program import ROOT, command, environment
from training.config import FitConfig, RunConfig, from_document, to_document
from training.decode import pick
from training.errors import ConfigError
from training.plugins.kinds import installed_origins
from training.runs import train_to_folder

MakeRun = Callable[..., RunConfig]
LOSS = (ROOT / "search" / "plugins" / "templates" / "loss.py").read_text().replace("my_loss", "lab_loss")
READER = (ROOT / "search" / "plugins" / "templates" / "reader.py").read_text().replace(".my_reader", ".lab")


@pytest.fixture
def lab(site: Path) -> Path:
    """A distribution that offers something of each kind."""
    sources = {
        "lab_models": model_source("lab_model"),
        "lab_losses": LOSS,
        "lab_metrics": METRIC.replace("NAME", "lab_metric"),
        "lab_readers": READER,
        "lab_samplers": SAMPLER.replace("NAME", "lab_sampler"),
    }
    install(site, "lab-tools", "1.2", sources, {group: f"all = lab_{group[10:]}" for group in GROUPS.values()})
    return site


def test_a_model_is_found_by_its_name_alone(lab: Path, make_run: MakeRun) -> None:
    assert "lab_model" not in DENOISERS
    document = {**to_document(make_run()), "model": {"name": "lab_model", "width": 5}, "loss": {"name": "lab_loss"}}
    run = from_document(document, "best.yaml")
    assert (run.model.name, run.loss.name) == ("lab_model", "lab_loss")
    assert run.plugins == ()


def test_nothing_is_imported_for_names_that_are_there(lab: Path) -> None:
    assert pick(DENOISERS, "wave_unet", "x", "model") is DENOISERS["wave_unet"]
    assert "lab_models" not in sys.modules


def test_metric_reader_and_sampler_are_found_too(lab: Path, tmp_path: Path) -> None:
    assert FitConfig(score="lab_metric").score == "lab_metric"
    with pytest.raises(DataError, match=r"gone\.lab: no such file"):
        read(tmp_path / "gone.lab")
    assert build_sampler(SamplerSpec("lab_sampler"), {}, 0, 0) is not None
    assert "lab_metric" in METRICS and ".lab" in READERS and "lab_sampler" in SAMPLERS


PREPARE = """
import sys
from pathlib import Path
from data.cache import Prepared, open_cache, store
from data.readers.read import read

def prepared():
    signals = read(Path(sys.argv[1])).signals
    return Prepared(signals, signals[0], None, 1.0, "d", "c")

with open_cache() as cache:
    print(float(store(cache, Path(sys.argv[1]), None, {}, prepared).signals[0, 0]))
"""


def test_a_changed_reader_prepares_the_first_recording_of_a_process_again(site: Path, tmp_path: Path) -> None:
    """The reader's code is in the key although nothing has looked for the reader before."""
    path = tmp_path / "drive.lab"
    path.write_bytes(b"MY_READER 1000 seat\n" + np.ones(100, "<f4").tobytes())
    # Without bytecode, which is not made again for a source of equal size in the same second.
    there = environment(DRIVEBEAT_CACHE=str(tmp_path / "cache"), PYTHONDONTWRITEBYTECODE="1")
    there["PYTHONPATH"] = f"{site}:{there['PYTHONPATH']}"
    install(site, "lab-tools", "1.2", {}, {"drivebeat.readers": "all = lab_readers"})
    for factor in ("1.0", "2.0"):
        source = READER.replace("np.fromfile(", f"np.float32({factor}) * np.fromfile(")
        (site / "lab_readers.py").write_text(source)
        result = subprocess.run(
            [sys.executable, "-c", PREPARE, str(path)], env=there, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == factor


def test_a_broken_package_gives_a_warning_with_its_name_and_ends_nothing(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The good one beside it is found."""
    install(site, "a-broken", "0.1", {"a_broken": "1 / 0\n"}, {"drivebeat.models": "it = a_broken"})
    install(site, "b-good", "0.1", {"b_good": model_source("good")}, {"drivebeat.models": "it = b_good"})
    with caplog.at_level(logging.WARNING):
        assert pick(DENOISERS, "good", "x", "model").name == "good"
        with pytest.raises(ConfigError, match="unknown model 'bad'"):
            pick(DENOISERS, "bad", "x", "model")
    (record,) = caplog.records
    assert record.getMessage() == (
        "entry point it of a-broken 0.1 (drivebeat.models) cannot be loaded (ZeroDivisionError: division by zero); "
        "repair or uninstall that package"
    )


def test_a_package_cannot_take_the_name_of_a_built_in(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = DENOISERS["wave_unet"]
    install(site, "greedy", "1", {"greedy": model_source("wave_unet")}, {"drivebeat.models": "it = greedy"})
    load_installed("model")
    assert "model 'wave_unet' is registered already, by models.wave_unet" in caplog.text
    assert DENOISERS["wave_unet"] is ours


def test_an_object_may_be_named_too(site: Path) -> None:
    install(
        site, "by-object", "1", {"by_object": model_source("by_object")}, {"drivebeat.models": "it = by_object:Net"}
    )
    assert pick(DENOISERS, "by_object", "x", "model").name == "by_object"


def test_the_distribution_of_a_model_or_loss_is_known(lab: Path) -> None:
    model, loss = pick(DENOISERS, "lab_model", "x", "model"), pick(LOSSES, "lab_loss", "x", "loss")
    origin = {"distribution": "lab-tools", "version": "1.2"}
    assert installed_origins(model, loss) == {"model": origin, "loss": origin}
    assert installed_origins(model, LOSSES["mse"]) == {"model": origin}
    assert installed_origins(DENOISERS["wave_unet"], LOSSES["mse"]) == {}
    assert distribution_of("pruner", "lab_models") is None


def test_run_yaml_names_the_distribution(
    lab: Path, make_run: MakeRun, tmp_path: Path, quiet: Callable[[], Console]
) -> None:
    model = pick(DENOISERS, "lab_model", "x", "model")
    train_to_folder(dataclasses.replace(make_run(), model=model()), tmp_path / "run", {"study": "s"}, [], quiet())
    provenance = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["provenance"]
    assert provenance == {
        "study": "s",
        "entry_points": {"model": {"distribution": "lab-tools", "version": "1.2"}},
    }


def test_a_command_lists_them_and_warns_in_one_line(lab: Path, tmp_path: Path) -> None:
    """In a process of its own: nobody has to import the package."""
    install(lab, "a-broken", "0.1", {"a_broken": "1 / 0\n"}, {"drivebeat.losses": "it = a_broken"})
    path = f"{lab}:{environment()['PYTHONPATH']}"
    done = subprocess.run(
        command("show", "--model", "lab_model", "--json"),
        cwd=tmp_path,
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"lab_model"' in done.stdout and '"lab_loss"' in done.stdout
    assert done.stderr.startswith("entry point it of a-broken 0.1 (drivebeat.losses) cannot be loaded")
    assert done.stderr.count("\n") == 1
