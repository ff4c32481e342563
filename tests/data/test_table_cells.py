"""Cells of text tables are numbers, times or missing, and the channels and ECGs among their columns."""

from pathlib import Path

import numpy as np
import pytest

from data.readers.read import variables
from tests.support.tables import COUNTS, N, X, check, even, got, has_note, lines, refusal, save, timed


def test_empty_cells_and_words_for_missing_are_gaps(tmp_path: Path) -> None:
    for word in ("", " ", "NaN", "nan", "NA", "null", '""'):
        rows = lines([*X[:60].tolist(), [0.5, word, 0.5], *X[61:].tolist()])
        recording = got(tmp_path, "a,b,c\n" + rows, rate_hz=1.0)
        check(recording, np.delete(X, 60, axis=0), ("a", "b", "c"), 1.0)
        assert has_note(recording, "1 gap")


def test_blank_lines_in_a_single_column_are_refused_as_they_may_be_missing_samples(tmp_path: Path) -> None:
    text = lines(X[:, :1])
    assert "1 blank lines" in refusal(tmp_path, text + "\n" + text, rate_hz=1.0)
    check(got(tmp_path, text.replace("\n", "\n\n"), rate_hz=1.0), X[:, :1], ("ch1",), 1.0)


@pytest.mark.parametrize("row", ["1.234,5;2.345,6", "1'234.5;2'345.6", "1.234.567;1.234.567"])
def test_marks_between_thousands_are_never_delimiters(tmp_path: Path, row: str) -> None:
    assert "not a table of numbers" in refusal(tmp_path, "a;b\n" + f"{row}\n" * 50, rate_hz=1.0)


def test_empty_rows_at_the_end_are_left_out_with_a_note(tmp_path: Path) -> None:
    recording = got(tmp_path, "t_s,a,b,c\n" + lines(timed(even(0.002))) + ",,,\n,,,\n")
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "2 empty rows")


def test_a_time_that_is_missing_is_refused_with_its_row(tmp_path: Path) -> None:
    text = lines(timed(even(0.002))).replace("\n0.04,", "\n,")
    assert "row 21" in refusal(tmp_path, "t_s,a,b,c\n" + text)


@pytest.mark.parametrize("row", ["1,2", "1,2,3,4", "1", "1,2,3,"])
@pytest.mark.parametrize("at", [0, 5, 150, N])
def test_a_row_with_too_few_or_too_many_cells_is_refused(tmp_path: Path, row: str, at: int) -> None:
    if at == 0 and len(row) < 5:
        pytest.skip("a preamble or header")
    text = "a,b,c\n" + lines(X[:at]) + row + "\n" + lines(X[at:])
    message = refusal(tmp_path, text, rate_hz=1.0)
    assert at == 0 or (f"row {at + 1}" in message and f"line {at + 2}" in message and f"'{row}'" in message)


@pytest.mark.parametrize("cell", ["OVL", "1.2.3", "1 2", "0x10", "1_000", "True", "--1", "1e", "12:30", "١"])
@pytest.mark.parametrize("at", [0, 5, 150, N - 1])
def test_a_cell_that_is_no_number_is_refused_with_its_row_and_text(tmp_path: Path, cell: str, at: int) -> None:
    rows: list[list[object]] = X.tolist()
    rows[at][1] = cell
    message = refusal(tmp_path, "a,b,c\n" + lines(rows), rate_hz=1.0)
    assert f"row {at + 1}" in message and f"'{cell}'" in message
    if at:
        check(got(tmp_path, "a,b,c\n" + lines(rows), rate_hz=1.0, channels=("a", "c")), X[:, ::2], ("a", "c"), 1.0)


def test_a_column_of_texts_is_left_out_with_a_note_or_refused_if_asked_for(tmp_path: Path) -> None:
    for words in (("on", "off"), ("True", "False")):
        rows = [[a, words[i % 2], c] for i, (a, _, c) in enumerate(X.tolist())]
        text = "a,state,c\n" + lines(rows)
        recording = got(tmp_path, text, rate_hz=1.0)
        check(recording, X[:, ::2], ("a", "c"), 1.0)
        assert has_note(recording, "state", "left out")
        assert "'state' holds texts" in refusal(tmp_path, text, rate_hz=1.0, channels=("state",))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# only a comment\n\n", "empty table"),
        ("a,b\n", "0 rows"),
        ("a,b\n1.5,2\n", "1 rows"),
        ("a,b\nc,d\n", "0 rows"),
        ("\n\n", "empty table"),
    ],
)
def test_a_table_without_rows_is_refused(tmp_path: Path, text: str, why: str) -> None:
    assert why in refusal(tmp_path, text, rate_hz=1.0)


def test_a_table_with_a_row_per_channel_is_refused(tmp_path: Path) -> None:
    assert "exchange rows and columns" in refusal(tmp_path, lines(X.T), rate_hz=1.0)


def test_an_ecg_is_attached_and_channels_are_named_or_counted_without_the_clock(tmp_path: Path) -> None:
    text = "t_s,seat,ECG,belt\n" + lines(timed(even(0.002)))
    recording = got(tmp_path, text)
    check(recording, X[:, ::2], ("seat", "belt"), 500.0)
    assert recording.ecg is not None
    np.testing.assert_allclose(recording.ecg, X[:, 1], rtol=1e-6)
    assert got(tmp_path, text, channels=("2", "0")).channels == ("belt", "seat")
    assert got(tmp_path, text, channels=("belt", "t_s")).channels == ("belt", "t_s")
    assert got(tmp_path, text, channels=("belt", "t_s")).rate_hz == 500.0
    assert "seat, ECG, belt" in refusal(tmp_path, text, channels=("back",))


def test_listing_names_the_columns(tmp_path: Path) -> None:
    path = save(tmp_path, "t_s,seat,ECG,belt\n" + lines(timed(even(0.002))))
    assert [v.name for v in variables(path)] == ["t_s", "seat", "ECG", "belt"]
    path = save(tmp_path, lines(timed(even(0.002))))
    assert [v.name for v in variables(path)] == ["ch1", "ch2", "ch3"]


@pytest.mark.parametrize(
    "word", ["#N/A", "<NA>", "None", "-nan(ind)", "1.#QNAN", "-1.#IND", "--", "#NV", "NaT", "N/A", "NULL"]
)
@pytest.mark.parametrize("at", [0, 60])
def test_what_programs_write_for_a_missing_number_is_a_gap(tmp_path: Path, word: str, at: int) -> None:
    rows = lines([*X[:at].tolist(), [word] * 3 if at == 0 else [0.5, word, 0.5], *X[at + 1 :].tolist()])
    recording = got(tmp_path, "a,b,c\n" + rows, rate_hz=1.0)
    check(recording, np.delete(X, at, axis=0), ("a", "b", "c"), 1.0)
    assert has_note(recording, "1 gap")


@pytest.mark.parametrize(
    ("delimiter", "mark", "quote"), [(";", ".", ""), ("\t", ",", ""), (",", ",", '"'), ("\t", ".", ""), (" ", ",", "")]
)
def test_marks_before_three_digits_in_some_numbers_only_are_refused(
    tmp_path: Path, delimiter: str, mark: str, quote: str
) -> None:
    """`-1.500`, `417`, `1.250` may be -1500 and 1250."""
    counts = [(i * 7919) % 3001 - 1500 for i in range(N)]
    cells = [f"{quote}{count:,}{quote}".replace(",", mark) for count in counts]
    text = delimiter.join(("time_ms", "seat")) + "\n" + "".join(f"{2 * i}{delimiter}{c}\n" for i, c in enumerate(cells))
    message = refusal(tmp_path, text)
    assert "'seat'" in message and "two ways" in message and "thousands" in message


def test_decimal_places_that_are_not_always_three_are_read(tmp_path: Path) -> None:
    for shown in ([f"{x:g}" for x in (1.25, 1.125, 3, 0.5)], ["1.125", "0.250", "3", "2"], ["1.125", "1500", "3", "2"]):
        text = "a;b\n" + "".join(f"{cell};{i % 3}\n" for i, cell in enumerate(shown * 10))
        recording = got(tmp_path, text, rate_hz=1.0)
        np.testing.assert_allclose(recording.signals[0], [float(cell) for cell in shown * 10])


def test_a_decimal_mark_in_one_column_is_one_in_all(tmp_path: Path) -> None:
    shown = ["1.125", "417", "3.250", "2"] * 10
    recording = got(tmp_path, "a;b\n" + "".join(f"{cell};0.5\n" for cell in shown), rate_hz=1.0)
    np.testing.assert_allclose(recording.signals[0], [float(cell) for cell in shown])


def test_three_decimal_places_everywhere_are_read_with_a_note(tmp_path: Path) -> None:
    text = "a;b\n" + "".join(f"{30 + x:.3f};{i}\n" for i, x in enumerate(X[:, 0]))
    recording = got(tmp_path, text, rate_hz=1.0)
    np.testing.assert_allclose(recording.signals[0], 30 + X[:, 0], rtol=0, atol=1e-3)
    assert has_note(recording, "column a", "not with thousands")
    quoted = "a,b\n" + "".join(f'"{100000 + c:,}","{200000 - c:,}"\n' for c in COUNTS)
    assert "two ways" in refusal(tmp_path, quoted, rate_hz=1.0)


@pytest.mark.parametrize("value", ["-9999", "-32768", "32767", "99999", "1e31", "-777"])
def test_a_number_far_outside_all_others_that_repeats_is_noted_and_not_changed(tmp_path: Path, value: str) -> None:
    rows: list[list[object]] = X.tolist()
    for at in (10, 11, 150):
        rows[at][1] = value
    recording = got(tmp_path, "a,b,c\n" + lines(rows), rate_hz=1.0)
    assert recording.signals[1, 150] == pytest.approx(float(value), rel=1e-6)
    assert has_note(recording, "column b", f"{float(value):g} 3 times", "leave these cells empty")
    assert not has_note(recording, "column a") and not has_note(recording, "column c")


def test_two_numbers_far_outside_on_both_sides_are_noted(tmp_path: Path) -> None:
    rows: list[list[object]] = X.tolist()
    for at in (10, 150):
        rows[at][1], rows[at + 1][1] = -9999, 9999
    recording = got(tmp_path, "a,b,c\n" + lines(rows), rate_hz=1.0)
    assert has_note(recording, "-9999 2 times") and has_note(recording, "holds 9999 2 times")


def test_a_single_knock_is_no_error_code(tmp_path: Path) -> None:
    rows: list[list[object]] = X.tolist()
    rows[10][1] = 77.125
    assert not got(tmp_path, "a,b,c\n" + lines(rows), rate_hz=1.0).notes


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_empty_column_is_left_out_wherever_it_stands(tmp_path: Path, place: int) -> None:
    names = ["a", "b", "c"]
    names.insert(place, "event")
    rows = [[*row[:place], "", *row[place:]] for row in X.tolist()]
    recording = got(
        tmp_path, "t_s," + ",".join(names) + "\n" + lines([[t, *r] for t, r in zip(even(0.002), rows, strict=True)])
    )
    check(recording, X, ("a", "b", "c"), 500.0)
    assert recording.notes == ("column event left out: empty",)


@pytest.mark.parametrize("beside", ["ECG_HR", "ecg_quality", "ECG marker", "ECG trigger", "ecg rate", "ECG status"])
@pytest.mark.parametrize("first", [True, False])
def test_what_tells_about_an_ecg_is_neither_the_ecg_nor_a_signal(tmp_path: Path, beside: str, first: bool) -> None:
    names = f"{beside},ECG" if first else f"ECG,{beside}"
    recording = got(tmp_path, f"{names},seat\n" + lines(X), rate_hz=500.0)
    check(recording, X[:, 2:], ("seat",), 500.0)
    assert recording.ecg is not None
    np.testing.assert_allclose(recording.ecg, X[:, 1 if first else 0], rtol=1e-6)
    assert has_note(recording, beside, "left out")
    asked = got(tmp_path, f"{names},seat\n" + lines(X), rate_hz=500.0, channels=(beside,))
    assert asked.channels == (beside,)
    alone = got(tmp_path, f"{beside},seat,belt\n" + lines(X), rate_hz=500.0)
    assert alone.ecg is None and alone.channels == ("seat", "belt")


def test_the_plainest_of_several_ecgs_is_the_ecg_and_the_others_are_noted(tmp_path: Path) -> None:
    for names, place in (("ECG filtered,ECG,x", 1), ("ECG1,ECG2,x", 0), ("ECG (mV),ECG II,x", 0), ("ecg raw,EKG,x", 1)):
        recording = got(tmp_path, f"{names}\n" + lines(X), rate_hz=500.0)
        assert recording.ecg is not None and recording.channels == ("x",)
        np.testing.assert_allclose(recording.ecg, X[:, place], rtol=1e-6)
        assert has_note(recording, f"channel {names.split(',')[1 - place]} is another ECG and is left out")


def test_another_sensor_at_an_ecg_s_place_is_a_signal(tmp_path: Path) -> None:
    for name in ("acc_ecg_electrode", "Acc_ECG_site", "ECG electrode"):
        recording = got(tmp_path, f"{name},b,c\n" + lines(X), rate_hz=500.0)
        check(recording, X, (name, "b", "c"), 500.0)
        assert has_note(recording, name, "taken as a signal")


@pytest.mark.parametrize(
    "form",
    ["{:.3f} sec", "{:.3f} s", "{:.3f}s", "0 days 00:00:{:06.3f}", "03-Feb-2024 10:00:{:06.3f}"],
)
def test_durations_and_dates_of_other_makes_are_read(tmp_path: Path, form: str) -> None:
    check(
        got(tmp_path, "t,a,b,c\n" + lines(timed([form.format(i / 500) for i in range(N)]))), X, ("a", "b", "c"), 500.0
    )
    days = [f"10:00:{i // 500:02d}:{2 * i % 1000:03d}" for i in range(N)]
    check(got(tmp_path, "t,a,b,c\n" + lines(timed(days))), X, ("a", "b", "c"), 500.0)


@pytest.mark.parametrize("stamp", ["10h00m0{:.3f}s", "Sat Feb  3 10:00:0{:.3f} 2024", "20240203T10000{:.3f}"])
def test_times_that_cannot_be_read_are_named_with_their_column(tmp_path: Path, stamp: str) -> None:
    text = "Time,a,b,c\n" + lines(timed([stamp.format(i / 500) for i in range(N)]))
    message = refusal(tmp_path, text)
    assert "'Time'" in message and stamp.format(0)[:8] in message and "cannot be read" in message
    recording = got(tmp_path, text, rate_hz=500.0)
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "Time", "left out")
