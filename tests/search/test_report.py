"""The report: one file that needs nothing else, holds what was asked of it, and says what it cannot tell."""

import base64
import dataclasses
import itertools
import json
import re
import wave
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState

from search.report.build import build_report, write_report
from search.report.facts import StudyFact, best_so_far, gather
from search.report.html import html_of
from search.report.page import Code, Page
from search.storage.open import open_engine, open_storage
from search.study.export import final_run
from search.study.spec import run_of
from search.study.study import Study, create
from search.trials import REASON, RUN, best_trial
from tests.support.study import record_trials
from training.config import from_document, to_document

STORAGE = "postgresql://me:***@host/studies"


def tell(study: Study, values: list[float], sound: tuple[Path, Path] | None = None) -> None:
    """A complete trial for each value, as a worker leaves them; sound: a file, and the store it is put in."""
    for value in values:
        trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
        run = run_of(study.spec, study.space, trial.params)
        trial.set_user_attr(RUN, json.dumps(to_document(run)))
        for name, said in (("seconds", 2.0), ("n_parameters", 1000 + trial.number), ("event_f1", 0.5)):
            trial.set_user_attr(name, said)
        for snr, more in (("-5", -2.0), ("+0", 2.0)):
            trial.set_user_attr(f"si_sdr_db@{snr}", value + more)
        trial.set_user_attr("si_sdr_db", value)
        for epoch in range(3):
            trial.report(value - 3 + epoch, epoch)
        if sound is not None:
            store = FileSystemArtifactStore(str(sound[1]))
            upload_artifact(artifact_store=store, file_path=str(sound[0]), study_or_trial=trial)
        study.optuna.tell(trial, value)


def end(study: Study, state: TrialState, reason: str, *, reported: bool = False) -> None:
    trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
    trial.set_user_attr(REASON, reason)
    if reported:
        trial.report(-7.0, 0)
    study.optuna.tell(trial, state=state)


class Reader(HTMLParser):
    """What a page holds: tags with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


MakePage = Callable[..., Page]


@pytest.fixture
def make_page(bench: Any, tmp_path: Path) -> MakePage:
    """The page about some studies; classical rows only where asked, as they take seconds."""

    def make(*studies: Study, **options: Any) -> Page:
        store = FileSystemArtifactStore(str(tmp_path / "artifacts"))
        (tmp_path / "artifacts").mkdir(exist_ok=True)
        for study in studies:
            record_trials(study, bench.engine)
        return build_report(studies, bench.engine, store, STORAGE, **{"classical": False, **options})

    return make


@dataclass(frozen=True)
class Made:
    """A study with trials of every end, its page, and that page as HTML: made once, as figures take their time."""

    study: Study
    studies: tuple[StudyFact, ...]
    page: Page
    text: str


@pytest.fixture(scope="module")
def full(make_spec: Any, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("full")
    url = f"sqlite:///{folder}/studies.db"
    engine = open_engine(url)
    (study,) = create(make_spec(budget={"trials": 20}), open_storage(url), engine)
    tell(study, [-4.0, 1.0, -2.0, 2.5, 0.5, -1.0, 2.0, -3.0, 1.5, 0.0])
    end(study, TrialState.PRUNED, "behind the others after epoch 1", reported=True)
    end(study, TrialState.PRUNED, "9,999 parameters, 10 allowed")
    end(study, TrialState.FAIL, "RuntimeError: <boom>")
    record_trials(study, engine)
    page = build_report([study], engine, FileSystemArtifactStore(str(folder)), STORAGE)
    studies = gather([study], engine)[1]
    engine.dispose()
    return Made(study, studies, page, html_of(page))


def test_the_page_asks_no_network_and_runs_no_script(full: Made) -> None:
    text = full.text
    page = Reader(text)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), value
    assert "@import" not in text
    assert all(at.startswith("#") for at in re.findall(r"url\(([^)]*)", text))


def test_the_page_can_be_read_without_eyes(full: Made) -> None:
    """Headings in order, alternative texts, scopes, unique ids, links that lead somewhere."""
    page = Reader(full.text)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a") if a["href"]} <= set(ids)
    drawings = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(drawings) == len(page.all("figure")) >= 5
    assert {svg["aria-labelledby"] for svg in drawings} <= set(ids)
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert "light dark" in str(page.all("meta"))


def test_the_page_tells_what_was_searched_and_what_came_of_it(full: Made) -> None:
    text = Reader(full.text).text
    best = best_trial(full.study.optuna)
    assert best is not None
    for words in (
        "Search report: tiny",
        f"trial {best.number} of tiny (autoencoder): si_sdr_db 2.50 dB",
        "one of 8, 16",  # the range of width
        full.study.fingerprint,
        "RuntimeError: <boom>",
        "9,999 parameters, 10 allowed",
        "10/1/1/1",
        "stop.wav",
        "drivebeat export tiny",
    ):
        assert words in text, words
    assert STORAGE in text
    assert "SI-SDR at 0 dB" in text and "+0 dB" not in text


def test_the_configuration_to_copy_is_the_exported_one(full: Made) -> None:
    best = best_trial(full.study.optuna)
    assert best is not None
    (code,) = [b.text for s in full.page.sections for b in s.blocks if isinstance(b, Code) and b.language == "yaml"]
    assert from_document(yaml.safe_load(code), "report") == final_run(full.study, best)
    assert yaml.safe_load(code)["provenance"]["trial"] == best.number


def test_figures_take_the_colour_of_the_page(full: Made) -> None:
    """Black axes would vanish on a dark page; a white box would glare."""
    for svg in re.findall(r"<svg.*?</svg>", full.text, flags=re.DOTALL):
        assert "currentColor" in svg
        assert not re.search(r"#(000000|ffffff|010203)\b", svg.replace("clip", ""))


def test_markup_in_a_name_stays_text_and_two_names_never_share_a_figure(
    bench: Any, make_spec: Any, make_page: MakePage
) -> None:
    names = ("a<b>&$x$", "a_b", "a-b")
    made = [bench.create(make_spec(name=name)) for name in names]
    for study in made:
        tell(study, [1.0])
    page = make_page(*made)
    assert len({drawing.name for drawing in page.drawings}) == len(page.drawings)
    read = Reader(html_of(page))
    assert "a<b>&$x$" in read.text
    assert not read.all("b")


def test_a_study_without_trials_has_a_report_too(bench: Any, make_spec: Any, make_page: MakePage) -> None:
    text = Reader(html_of(make_page(bench.create(make_spec())))).text
    assert "No trial is finished yet." in text
    assert "No trial is complete yet." in text


def test_a_study_that_only_failed_or_was_pruned_has_one(bench: Any, make_spec: Any, make_page: MakePage) -> None:
    study = bench.create(make_spec())
    end(study, TrialState.FAIL, "no luck")
    assert "no luck" in Reader(html_of(make_page(study))).text
    end(study, TrialState.PRUNED, "behind", reported=True)
    assert "No trial is complete yet." in Reader(html_of(make_page(study))).text


def test_the_sounds_of_the_best_trial_are_inside(
    bench: Any, make_spec: Any, make_page: MakePage, tmp_path: Path
) -> None:
    """To the last byte; where the store has them no more, the page says so."""
    store = tmp_path / "artifacts"
    store.mkdir()
    with wave.open(str(tmp_path / "estimate.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 4, "NONE", ""))
        sound.writeframes(bytes(range(8)))
    study = bench.create(make_spec())
    tell(study, [1.0], (tmp_path / "estimate.wav", store))
    (player,) = Reader(html_of(make_page(study))).all("audio")
    source = player["src"]
    assert source is not None and source.startswith("data:audio/wav;base64,")
    assert base64.b64decode(source.partition(",")[2]) == (tmp_path / "estimate.wav").read_bytes()
    for stored in store.iterdir():
        stored.unlink()
    assert "not in this store" in Reader(html_of(make_page(study))).text


def test_classical_rows_stand_beside_the_trials(full: Made) -> None:
    text = Reader(full.text).text
    for words in ("zeros", "identity", "nlms", "oracle (bound)", "One clean recording gives no interval"):
        assert words in text


def test_recordings_that_are_gone_cost_the_classical_rows_and_are_said(
    bench: Any, make_spec: Any, make_page: MakePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(config: object) -> None:
        raise FileNotFoundError("stop.wav: no such file")

    study = bench.create(make_spec())
    monkeypatch.setattr("search.report.facts.load", gone)
    text = Reader(html_of(make_page(study, classical=True))).text
    assert "No classical methods. The recordings cannot be read here: stop.wav: no such file." in text


def test_what_does_not_compare_stands_apart(bench: Any, make_spec: Any, data_section: Any, make_page: MakePage) -> None:
    """A score of 9 on another mixture must not share a figure with ours."""
    other_data = {**data_section, "validation": {"n_windows": 4, "snrs_db": [0.0]}}
    ours, other = bench.create(make_spec()), bench.create(make_spec(name="other", data=other_data))
    tell(ours, [1.0, 2.0])
    tell(other, [9.0, 8.0])
    page = make_page(ours, other)
    assert {"progress-a", "progress-b", "snr-a", "snr-b", "cost-a", "cost-b"} <= {d.name for d in page.drawings}
    assert "Mixture B cannot be compared with A: other data.validation." in Reader(html_of(page)).text
    assert all("9.00" not in d.alt for d in page.drawings if d.name.endswith("-a"))


def test_families_of_one_study_file_share_their_figures(bench: Any, make_spec: Any, make_page: MakePage) -> None:
    spec = make_spec(models=["autoencoder", "wave_unet"], fixed={"batch_size": 8}, search=["width"], ranges={})
    made = create(spec, bench.storage, bench.engine)
    tell(made[0], [1.0, 2.0])
    tell(made[1], [3.0, 2.5])
    page = make_page(*made)
    (progress,) = [d for d in page.drawings if d.name == "progress"]
    assert "tiny-wave_unet 3.00" in progress.alt and "tiny-autoencoder 2.00" in progress.alt


def test_markdown_leads_to_its_files_and_figures_come_for_papers(full: Made, tmp_path: Path) -> None:
    few = tuple(section for section in full.page.sections if section.title in ("Overview", "Scores by SNR"))
    page = dataclasses.replace(full.page, sections=few)
    write_report(page, tmp_path / "out" / "report.md", "md", tmp_path / "figures")
    text = (tmp_path / "out" / "report.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == len(page.drawings)
    assert all((tmp_path / "out" / link).read_bytes().startswith(b"\x89PNG") for link in links)
    for drawing in page.drawings:
        assert (tmp_path / "figures" / f"{drawing.name}.pdf").read_bytes().startswith(b"%PDF")
        assert (tmp_path / "figures" / f"{drawing.name}.png").exists()
    widths = [line.count(" | ") for line in text.splitlines() if line.startswith("| study |")]
    assert widths == [7]


def test_the_best_so_far_never_falls_and_skips_what_is_infeasible(full: Made) -> None:
    (study,) = full.studies
    steps = best_so_far(study)
    assert [value for _, value in steps] == [-4.0, 1.0, 1.0, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]
