"""The API that the page uses: as the stock dashboard's, the best trial feasible; kept, compressed, tagged."""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.artifacts import FileSystemArtifactStore
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from search.dashboard.http import gzipped, piece, takes_gzip
from search.dashboard.server import build, stock
from search.dashboard.storage import PageStorage
from search.pages.notes import put_note
from search.storage.open import open_storage
from search.trials import REMOVED

Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def study(bench: Any) -> optuna.Study:
    """Trials of every state, one of them infeasible with the highest value."""
    study = optuna.create_study(storage=bench.storage, study_name="mixed", direction="maximize")
    space = {"rate": FloatDistribution(1e-5, 1e-1, log=True), "nhead": CategoricalDistribution((2, 4))}
    for number in range(8):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if number == 3 else TrialState.COMPLETE,
                value=None if number == 3 else number + 0.123456789,
                params={"rate": 1.23456789e-3 / (number + 1), "nhead": 4},
                distributions=space,
                intermediate_values={0: 0.123456789, 1: float("nan"), 2: float("-inf")},
                user_attrs={"run": "{}" * 50, "device": "cpu", "n_parameters": 5},
                constraints={"n_parameters": 1.0 if number == 7 else -1.0},
                system_attrs={"artifacts:abc": json.dumps({"artifact_id": "abc", "filename": "a.wav"})},
            )
        )
    study.ask()
    return study


@pytest.fixture
def pages(bench: Any, study: optuna.Study, tmp_path: Path) -> tuple[Any, Any]:
    """Ours, and optuna-dashboard's own over the plain storage."""
    storage, artifacts = (
        PageStorage(open_storage(bench.url, fast=False), bench.engine),
        FileSystemArtifactStore(str(tmp_path)),
    )
    return build(storage, artifacts), stock(bench.storage, artifacts)


def test_the_best_trial_shown_is_never_an_infeasible_one(pages: tuple[Any, Any], study: optuna.Study, ask: Ask) -> None:
    answer = json.loads(ask(pages[0], "/api/studies/1", query="after=0")[2])
    assert [trial["number"] for trial in answer["best_trials"]] == [6]
    assert [trial["constraints"] for trial in answer["trials"]][6:8] == [
        [-1.0],
        [1.0],
    ]  # the page's plots tell them apart
    only = optuna.create_study(storage=study._storage, study_name="none is good", direction="minimize")
    only.add_trial(create_trial(value=0.0, constraints={"memory": 1.0}))
    assert json.loads(ask(pages[0], "/api/studies/2")[2])["best_trials"] == []


def test_the_answer_is_the_stock_one_but_for_digits_constraints_and_long_attributes(
    pages: tuple[Any, Any], ask: Ask
) -> None:
    ours, theirs = (json.loads(ask(application, "/api/studies/1", query="after=2")[2]) for application in pages)
    assert ours.keys() == theirs.keys()
    assert [trial["number"] for trial in ours["trials"]] == list(range(2, 9))
    for mine, stock_trial in zip(ours["trials"], theirs["trials"], strict=True):
        for name in stock_trial.keys() - {"constraints", "user_attrs", "params", "values", "intermediate_values"}:
            assert mine[name] == stock_trial[name], name
        assert {row["key"] for row in mine["user_attrs"]} == {row["key"] for row in stock_trial["user_attrs"]} - {"run"}
        for a, b in zip(mine["params"], stock_trial["params"], strict=True):
            assert (a["name"], a["distribution"]) == (b["name"], b["distribution"])
            assert a["param_internal_value"] == pytest.approx(b["param_internal_value"], rel=1e-5)
            assert float(a["param_external_value"]) == pytest.approx(float(b["param_external_value"]), rel=1e-5)
        if mine["intermediate_values"]:
            assert [row["value"] for row in mine["intermediate_values"]] == [0.1235, "nan", "-inf"]
    for name in theirs.keys() - {"trials", "best_trials", "union_user_attrs"}:
        assert ours[name] == theirs[name], name
    assert {row["key"] for row in ours["union_user_attrs"]} == {"device", "n_parameters"}


def test_a_study_made_from_a_file_hides_its_long_documents_and_shows_the_short_ones(
    bench: Any, make_spec: Any, ask: Ask
) -> None:
    """The file's JSON on one line has no place on a page; the study's note tells what stands in it."""
    study = bench.create(make_spec())
    shown = build(PageStorage(open_storage(bench.url, fast=False), bench.engine), FileSystemArtifactStore("."))
    answer = json.loads(ask(shown, f"/api/studies/{study.optuna._study_id}")[2])
    assert {row["key"] for row in answer["user_attrs"]} == {"drivebeat:family", "drivebeat:data_fingerprint"}


def test_epochs_of_our_studies_are_shown_from_1_and_steps_of_others_as_they_are(
    bench: Any, study: optuna.Study, pages: tuple[Any, Any], make_spec: Any, ask: Ask
) -> None:
    """The page lists the reports of a trial, plots them and shows its attribute `best_epoch`."""
    own = bench.create(make_spec()).optuna
    reports: dict[str, Any] = {"intermediate_values": {0: 0.5, 1: 0.75}, "user_attrs": {"best_epoch": 1}}
    own.add_trial(create_trial(value=0.75, **reports))
    study.add_trial(create_trial(value=0.75, **reports))
    shown = [json.loads(ask(pages[0], f"/api/studies/{s._study_id}")[2])["trials"][-1] for s in (own, study)]
    assert [[row["step"] for row in trial["intermediate_values"]] for trial in shown] == [[1, 2], [0, 1]]
    assert [trial["user_attrs"] for trial in shown] == [
        [{"key": "best_epoch", "value": "2"}],
        [{"key": "best_epoch", "value": "1"}],
    ]
    assert own.get_trials()[-1].intermediate_values == {0: 0.5, 1: 0.75}, "what is stored stays"


def test_a_study_that_is_deleted_leaves_nothing_for_the_next_one_of_its_id(
    bench: Any, study: optuna.Study, ask: Ask
) -> None:
    """SQLite gives its id, and the ids of its trials, again."""
    storage = PageStorage(open_storage(bench.url, fast=False), bench.engine)
    shown = build(storage, FileSystemArtifactStore("."))
    assert len(json.loads(ask(shown, "/api/studies/1")[2])["trials"]) == 9
    storage.delete_study(1)
    again = optuna.create_study(storage=bench.storage, study_name="mixed", direction="maximize")
    again.add_trial(create_trial(value=2.5))
    assert again._study_id == 1, "the case that this is about"
    assert [trial["values"] for trial in json.loads(ask(shown, "/api/studies/1")[2])["trials"]] == [[2.5]]


def test_what_happens_after_an_answer_is_in_the_next_one(
    pages: tuple[Any, Any], study: optuna.Study, bench: Any, ask: Ask
) -> None:
    """A trial goes on, a finished one gets another note, one loses its artifacts; the tag changes each time."""
    running = study.get_trials()[-1]
    tags = {ask(pages[0], "/api/studies/1")[1]["ETag"]}

    def seen() -> dict[str, Any]:
        status, headers, body = ask(pages[0], "/api/studies/1")
        assert (status, headers["ETag"] in tags) == (200, False)
        tags.add(headers["ETag"])
        found: dict[str, Any] = json.loads(body)
        return found

    bench.storage.set_trial_intermediate_value(running._trial_id, 0, 4.5)
    assert seen()["trials"][8]["intermediate_values"] == [{"step": 0, "value": 4.5}]
    put_note(bench.storage, 1, 1, "first words", 1)
    assert seen()["trials"][0]["note"] == {"version": 1, "body": "first words"}
    put_note(bench.storage, 1, 1, "more words", 2)
    assert seen()["trials"][0]["note"] == {"version": 2, "body": "more words"}
    bench.storage.set_study_system_attr(1, f"{REMOVED}1", 5)
    assert seen()["trials"][0]["artifacts"] == []
    study.tell(running.number, 100.0)
    assert [trial["number"] for trial in seen()["best_trials"]] == [8]
    unchanged = ask(pages[0], "/api/studies/1", IF_NONE_MATCH=ask(pages[0], "/api/studies/1")[1]["ETag"])
    assert (unchanged[0], unchanged[2]) == (304, b"")


def test_many_trials_come_whole_from_any_number_on(
    pages: tuple[Any, Any], bench: Any, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    """Across the borders of what is compressed together, at first and again; gzip and plain alike."""
    block = 5
    monkeypatch.setattr("search.dashboard.cache.BLOCK", block)
    large = optuna.create_study(storage=bench.storage, study_name="large")
    large.add_trials([create_trial(value=float(i)) for i in range(2 * block + 3)])
    for after in (0, 1, block - 1, block, 2 * block, 2 * block + 2, 2 * block + 3, 10**6):
        for headers in ({}, {"ACCEPT_ENCODING": "gzip, deflate, br"}):
            _, said, body = ask(pages[0], "/api/studies/2", query=f"after={after}", **headers)
            plain = gzip.decompress(body) if said.get("Content-Encoding") == "gzip" else body
            assert [t["number"] for t in json.loads(plain)["trials"]] == list(range(after, 2 * block + 3))


def test_a_wrong_question_is_answered_as_by_the_stock_one(pages: tuple[Any, Any], ask: Ask) -> None:
    for path, query in (
        ("/api/studies/99", ""),
        (f"/api/studies/{10**30}", ""),
        ("/api/studies/1", "after=-1"),
        ("/api/studies/x", ""),
    ):
        assert ask(pages[0], path, query=query)[0] == ask(pages[1], path, query=query)[0] != 200


def test_pages_are_compressed_and_artifacts_kept_by_the_browser(
    pages: tuple[Any, Any], tmp_path: Path, ask: Ask
) -> None:
    _, headers, body = ask(pages[0], "/dashboard", ACCEPT_ENCODING="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"<html" in gzip.decompress(body)
    assert b"<style>a:not([class])" in gzip.decompress(body), "links of notes are seen on a dark page"
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert ask(pages[0], "/dashboard", ACCEPT_ENCODING="gzip", IF_NONE_MATCH=headers["ETag"])[0] == 304
    missing = ask(pages[0], "/artifacts/1/1/abd")
    assert missing[0] == 404
    assert missing[1]["Content-Security-Policy"] == "sandbox"


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_pieces_compressed_apart_are_one_gzip_stream_together(texts: list[bytes]) -> None:
    whole = gzipped([piece(text) for text in texts])
    assert gzip.decompress(whole) == b"".join(texts)
    reader = zlib.decompressobj(31)  # one member and nothing after it: what browsers read
    assert reader.decompress(whole) == b"".join(texts)
    assert reader.eof
    assert not reader.unused_data


@pytest.mark.parametrize(
    ("offer", "taken"), [("gzip", True), ("br, GZip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("", False)]
)
def test_gzip_is_sent_to_those_who_read_it(offer: str, taken: bool) -> None:
    assert takes_gzip({"HTTP_ACCEPT_ENCODING": offer}) == taken
