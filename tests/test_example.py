"""docs/example: what the commands wrote is small, valid and whole, and its page shows the commands that wrote it."""

import csv
import json
import math
import re
from pathlib import Path

import jsonschema
import pytest
import soundfile
from PIL import Image

from scripts.example import DOCUMENT, EVALUATION, EXAMPLE, MADE_FROM, PAGE, REPORT, commands, without_folders
from scripts.front_page import WEIGHTS, digest
from search.documents.all import schema
from tests.support.asked import asked
from tests.support.pages import refused
from training.pretrained import pretrained

TEXT = (EXAMPLE / PAGE).read_text(encoding="utf-8")
SCORES = json.loads((EXAMPLE / DOCUMENT).read_text(encoding="utf-8"))
MODEL = "conformer"


def test_its_files_are_small() -> None:
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) < 2_000_000


def test_the_numbers_are_a_document_of_the_present_schema() -> None:
    """Where a key has changed, `make example` writes the document again."""
    jsonschema.validate(SCORES, schema("evaluation"))
    assert SCORES["split"] == "test"


def test_table_and_document_have_the_same_numbers() -> None:
    with (EXAMPLE / EVALUATION / "table.csv").open(encoding="utf-8") as file:
        of = {(row["method"], float(row["snr_db"])): float(row["event_f1"]) for row in csv.DictReader(file)}
    assert of == pytest.approx(
        {(row["method"], float(row["snr_db"])): row["event_f1"] for row in SCORES["rows"]}, abs=1e-4
    )


def test_the_model_is_better_than_its_input_at_each_snr() -> None:
    """An example of a model that does harm would be none."""
    of = {(row["method"], row["snr_db"]): row["si_sdr_db"] for row in SCORES["rows"]}
    snrs = [snr_db for method, snr_db in of if method == MODEL and math.isfinite(float(snr_db))]
    assert len(snrs) == 4
    assert all(of[MODEL, snr_db] > of["identity", snr_db] + 3 for snr_db in snrs)


def test_it_is_of_the_weights_that_are_here() -> None:
    """Where this fails, run `make example`."""
    made_from = json.loads((EXAMPLE / MADE_FROM).read_text(encoding="utf-8"))
    assert made_from == {"weights_sha256": digest(pretrained()[0].folder / WEIGHTS)}


def test_pictures_and_sounds_are_readable() -> None:
    for name in ("window", "si_sdr_db", "event_f1", "hr_within_5_bpm", "beats", "reliability"):
        with Image.open(EXAMPLE / EVALUATION / f"{name}.png") as picture:
            picture.verify()
    for name in ("noisy", "clean", "estimate"):
        samples, rate_hz = soundfile.read(EXAMPLE / EVALUATION / f"{name}.wav")
        assert samples.size / rate_hz == 8 and 0.8 < abs(samples).max() < 1


def test_the_report_stands_alone() -> None:
    """It asks nothing of the network, has no script, and shows no folder of the machine that made it."""
    report = (EXAMPLE / REPORT).read_text(encoding="utf-8")
    assert report.lstrip().lower().startswith("<!doctype html>") and report.rstrip().endswith("</html>")
    assert asked(report) == []
    assert "<script" not in report
    links = set(re.findall(r'href="([^"#][^"]*)"', report))
    assert {link for link in links if not link.startswith("data:")} == set()
    for folder in ("/tmp/", "/home/", "/root/"):
        assert folder not in report and folder not in json.dumps(SCORES)


def test_paths_become_relative() -> None:
    text = '{"run": "/tmp/a/models/x", "base": "/tmp/a", "url": "sqlite:////tmp/b/studies.db"}'
    assert without_folders(text, Path("/tmp/a"), Path("/tmp/b")) == (
        '{"run": "models/x", "base": ".", "url": "sqlite:///studies.db"}'
    )


def test_the_page_shows_commands_that_exist() -> None:
    found = commands(TEXT)
    assert [refused(words) for words, _ in found] == [""] * len(found)
    assert [words[0] for words, _ in found] == ["data", "evaluate", "create", "launch", "report"]
    assert [output for _, output in found if output] == [DOCUMENT]


def test_another_program_on_the_page_is_refused() -> None:
    with pytest.raises(ValueError, match=r"index\.md: 'rm -r data' is no command of drivebeat"):
        commands("```sh\nrm -r data\n```\n")


def test_the_page_links_to_every_kind_of_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert {REPORT, DOCUMENT, f"{EVALUATION}/table.csv", f"{EVALUATION}/window.png"} <= set(links)
    assert [link for link in links if not (EXAMPLE / link).exists()] == []
