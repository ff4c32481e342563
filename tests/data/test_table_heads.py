"""Names, units and preambles of text tables are told from their rows."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.tables import COUNTS, N, X, check, even, got, has_note, lines, refusal, timed


def test_comments_are_skipped_wherever_they_stand(tmp_path: Path) -> None:
    body = lines(X[:100]) + "# bump\n  % here\n" + lines(X[100:])
    check(got(tmp_path, "# bought\n%x\n\na,b,c\n# more\n" + body, rate_hz=1.0), X, ("a", "b", "c"), 1.0)


def test_a_preamble_is_left_out_with_a_note(tmp_path: Path) -> None:
    recording = got(tmp_path, "Device XY-5, No. 7\nOperator: T.\n\na;b;c\n" + lines(X, ";"), rate_hz=1.0)
    check(recording, X, ("a", "b", "c"), 1.0)
    assert has_note(recording, "2 lines above the table", "'Device XY-5, No. 7'")


def test_a_title_over_several_columns_is_no_name(tmp_path: Path) -> None:
    recording = got(tmp_path, "My drive\n" + lines(X), rate_hz=1.0)
    check(recording, X, ("ch1", "ch2", "ch3"), 1.0)
    assert has_note(recording, "preamble", "'My drive'")


@pytest.mark.parametrize("units", ["s;mV", "(s);(m/s^2)", "[s];[g]", "s;", "s;m/s²"])
def test_a_row_of_units_below_the_header_is_no_header(tmp_path: Path, units: str) -> None:
    recording = got(tmp_path, f"time;seat\n{units}\n" + lines(timed(even(0.002), X[:, :1]), ";", ","))
    check(recording, X[:, :1], ("seat",), 500.0)
    assert not recording.notes, "the unit is stated"


def test_the_row_of_units_gives_the_unit_of_times(tmp_path: Path) -> None:
    for unit in ("ms", "[ms]", "(msec)"):
        recording = got(tmp_path, f"t,a,b,c\n{unit},g,g,g\n" + lines(timed(range(0, 4 * N, 4))))
        check(recording, X, ("a", "b", "c"), 250.0)
    text = refusal(tmp_path, "t_ms,a,b,c\ns,g,g,g\n" + lines(timed(range(0, 4 * N, 4))))
    assert "'ms and s'" in text and "contradictory" in text


def test_a_header_of_integers_over_numbers_with_points_is_one(tmp_path: Path) -> None:
    """As pandas writes columns without names, with and without its index."""
    import pandas as pd

    with_index = got(tmp_path, pd.DataFrame(X).to_csv(), rate_hz=1.0)
    check(with_index, X, ("0", "1", "2"), 1.0)
    assert has_note(with_index, "column1", "counts the samples")
    without = got(tmp_path, pd.DataFrame(X).to_csv(index=False), rate_hz=1.0)
    check(without, X, ("0", "1", "2"), 1.0)
    assert has_note(without, "(0, 1, 2) is taken as names")


def test_a_first_row_that_continues_downwards_is_no_header(tmp_path: Path) -> None:
    rows = "0,1\n" + "".join(f"{i / 500:g},{np.cos(i / 9):.6f}\n" for i in range(1, N))
    recording = got(tmp_path, rows)
    assert recording.signals.shape == (1, N) and recording.signals[0, 0] == 1.0


def test_a_first_row_of_integers_over_integers_is_samples_and_a_note_says_so(tmp_path: Path) -> None:
    recording = got(tmp_path, "0,1\n" + lines(np.column_stack([COUNTS, -COUNTS])), rate_hz=1.0)
    assert recording.signals.shape == (2, N + 1)
    assert has_note(recording, "(0, 1) is taken as samples")


def test_quoted_names_and_numbers_are_read_without_their_quotes(tmp_path: Path) -> None:
    text = '"a, left";"b"\n' + "".join(f'"{a}";{b}\n' for a, b, _ in X.tolist())
    check(got(tmp_path, text, rate_hz=1.0), X[:, :2], ("a, left", "b"), 1.0)


@pytest.mark.parametrize("header", ["a;b;c;\n", "a;b;c\n", "", "# a;b;c;\n"])
def test_a_delimiter_at_the_end_of_each_row_makes_no_column(tmp_path: Path, header: str) -> None:
    recording = got(tmp_path, header + lines(X, ";").replace("\n", ";\n"), rate_hz=1.0)
    check(recording, X, ("a", "b", "c") if header else ("ch1", "ch2", "ch3"), 1.0)


def test_rows_between_bars_are_read(tmp_path: Path) -> None:
    text = "".join(f"| {a} | {b} |\n" for a, b, _ in X.tolist())
    check(got(tmp_path, text, rate_hz=1.0), X[:, :2], ("ch1", "ch2"), 1.0)


def test_blank_lines_between_rows_are_left_out_with_a_note(tmp_path: Path) -> None:
    recording = got(tmp_path, "a,b,c\n\n" + lines(X).replace("\n", "\n \n"), rate_hz=1.0)
    check(recording, X, ("a", "b", "c"), 1.0)
    assert has_note(recording, f"{N - 1} blank lines")


def test_names_in_the_comment_above_the_rows_are_used(tmp_path: Path) -> None:
    """As NumPy's savetxt writes them: an ECG among them stays one."""
    stream = io.StringIO()
    np.savetxt(stream, X, fmt="%.4f", header="seat ECG belt")
    recording = got(tmp_path, stream.getvalue(), rate_hz=1.0)
    check(recording, X[:, ::2], ("seat", "belt"), 1.0)
    assert recording.ecg is not None and has_note(recording, "last comment")


def test_names_above_a_stated_rate_are_used(tmp_path: Path) -> None:
    check(got(tmp_path, "a,b,c\nfs,1000\n" + lines(X)), X, ("a", "b", "c"), 1000.0)


def test_names_that_are_numbers_are_used_beside_one_that_is_none(tmp_path: Path) -> None:
    text = "t_s,50,100,200\n" + lines(timed(even(0.002)))
    check(got(tmp_path, text), X, ("50", "100", "200"), 500.0)


def test_names_with_spaces_over_columns_of_white_space_are_told_apart(tmp_path: Path) -> None:
    text = "Time (s)   Chest wall (g)\n" + lines(timed(even(0.002), X[:, :1]), "  ")
    check(got(tmp_path, text), X[:, :1], ("Chest wall (g)",), 500.0)


def test_row_names_without_a_name_of_their_own_are_a_counter(tmp_path: Path) -> None:
    """As R's write.table writes them."""
    text = "a b\n" + "".join(f'"{i}" {a} {b}\n' for i, (a, b, _) in enumerate(X.tolist(), 1))
    check(got(tmp_path, text, rate_hz=1.0), X[:, :2], ("a", "b"), 1.0)


def test_a_delimiter_stated_for_excel_is_used(tmp_path: Path) -> None:
    check(got(tmp_path, "sep=;\na;b;c\n" + lines(X, ";", ","), rate_hz=1.0), X, ("a", "b", "c"), 1.0)


def test_empty_names_are_numbered_and_control_characters_of_names_are_shown(tmp_path: Path) -> None:
    recording = got(tmp_path, "a,,c\x85d\n" + lines(X), rate_hz=1.0)
    assert recording.channels == ("a", "column2", "c\\x85d")


def test_a_name_that_repeats_is_refused_with_its_columns(tmp_path: Path) -> None:
    text = refusal(tmp_path, "a,b,a\n" + lines(X), rate_hz=1.0)
    assert "columns 1 and 3" in text and "'a'" in text


def test_more_or_fewer_names_than_columns_are_refused(tmp_path: Path) -> None:
    for header in ("a,b", "a,b,c,d"):
        text = refusal(tmp_path, f"{header}\n" + lines(X), rate_hz=1.0)
        assert "names in the header" in text and "3 cells" in text


@pytest.mark.parametrize(
    "unit",
    [
        *("m/(s^2)", "m*s^-2", "m s-2", "mps2", "V/g", "km/h", "nT", "none", "n/a", "g (9.81 m/s2)", "x1000 g", "mV/V"),
        *("arb", "digits", "m/s/s", "mm/s²", "kOhm", "bits"),
    ],
)
@pytest.mark.parametrize("names", ["time,seat,ECG,belt", "T_Unix,seat,ECG_LL,belt", "Sample,seat,back,belt"])
def test_a_row_of_words_below_names_of_clocks_counters_or_ecgs_is_no_header(
    tmp_path: Path, unit: str, names: str
) -> None:
    text = f"{names}\nms,{unit},mV,{unit}\n" + lines(timed(range(0, 2 * N, 2)))
    recording = got(tmp_path, text, rate_hz=500.0)
    expected = ("seat", "back", "belt") if "back" in names else ("seat", "belt")
    assert (recording.channels, recording.rate_hz) == (expected, 500.0)
    assert (recording.ecg is None) == ("back" in names)
    if unit == "m/(s^2)":
        assert has_note(recording, "taken as units")


def test_equal_units_below_different_names_are_no_names(tmp_path: Path) -> None:
    check(got(tmp_path, "t,a,b,c\nms,foo,foo,foo\n" + lines(timed(range(0, 2 * N, 2)))), X, ("a", "b", "c"), 500.0)


def test_names_over_names_are_joined_where_they_repeat(tmp_path: Path) -> None:
    text = "time,acc,acc,gyr\n,x,y,z\ns,g,g,g\n" + lines(timed(even(0.002)))
    check(got(tmp_path, text), X, ("acc x", "acc y", "gyr z"), 500.0)


def test_a_title_over_groups_of_names_is_no_header(tmp_path: Path) -> None:
    check(got(tmp_path, "Accelerometer,,,\nTime (s),a,b,c\n" + lines(timed(even(0.002)))), X, ("a", "b", "c"), 500.0)


def test_a_line_of_words_above_the_names_that_fits_no_times_is_a_preamble(tmp_path: Path) -> None:
    recording = got(tmp_path, "Start time,Operator,Car\na,b,c\n" + lines(X), rate_hz=500.0)
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "preamble", "Start time")


def test_lines_of_properties_below_the_names_are_left_out_with_a_note(tmp_path: Path) -> None:
    """Lowest and highest numbers, sensitivities: they are no samples, and the names above them count."""
    body = lines(timed(even(0.002)))
    recording = got(tmp_path, "Time,a,ECG,c\ns,m/s2,mV,g\nmin,-1,-1,-1\nmax,1,1,1\n" + body)
    assert recording.channels == ("a", "c") and recording.ecg is not None
    assert has_note(recording, "'min,-1,-1,-1'", "left out")
    recording = got(tmp_path, "Name,a,b,c\nUnit,g,g,g\nSensitivity,100.1,99.8,101\nTime,,,\n" + body)
    check(recording, X, ("a", "b", "c"), 500.0)


def test_a_first_row_far_from_all_others_is_noted(tmp_path: Path) -> None:
    recording = got(tmp_path, "a,b\n100.1,99.8\n" + lines(X[:, :2]), rate_hz=500.0)
    assert recording.signals.shape == (2, N + 1)
    assert has_note(recording, "first row (100.1, 99.8)", "calibration")
    text = refusal(tmp_path, "Time,a,b,c\ns,V,V,V\n0,100,9.81,3\n" + lines(timed(even(0.002))))
    assert "row 2 is no later" in text


@pytest.mark.parametrize("n_columns", [1, 3])
def test_start_and_rate_in_the_first_rows_are_refused_with_the_next_step(tmp_path: Path, n_columns: int) -> None:
    """As in the files of Empatica."""
    rows = [[1706950800.0] * n_columns, [32.0] * n_columns, *np.round(64 * X[:, :n_columns]).astype(int).tolist()]
    text = refusal(tmp_path, lines(rows), rate_hz=32.0)
    assert "Empatica" in text and "rate_hz=32" in text


BIOPAC = "r.acq\n2 msec/sample\n3 channels\nACC X\ng\nACC Y\ng\nACC Z\ng\n"


@pytest.mark.parametrize(
    ("names", "times"),
    [
        ("min\tCH1\tCH2\tCH3", [f"{i / 30000:.9f}" for i in range(N)]),
        ("sec\tCH1\tCH2\tCH3", even(0.002)),
        ("milliSec\tCH1\tCH2\tCH3", range(0, 2 * N, 2)),
    ],
)
def test_texts_of_biopac_are_read_without_their_row_of_counts(
    tmp_path: Path, names: str, times: Sequence[object]
) -> None:
    text = f"{BIOPAC}{names}\t\n\t{N}\t{N}\t{N}\t\n" + lines(timed(times), "\t").replace("\n", "\t\n")
    recording = got(tmp_path, text)
    check(recording, X, ("CH1", "CH2", "CH3"), 500.0)
    assert has_note(recording, "row of counts")
    assert "250 Hz" in refusal(tmp_path, text.replace("2 msec/sample", "4 msec/sample"))
    cut = text[: text.index("\n", len(text) // 2) + 1]
    assert f"holds {N}" in refusal(tmp_path, cut)


def test_texts_of_biopac_without_times_have_the_stated_rate(tmp_path: Path) -> None:
    text = f"r.acq\n0.5 samples/msec\n1 channels\nACC\ng\nCH1\n{N}\n" + lines(X[:, :1])
    assert got(tmp_path, text.replace(f"CH1\n{N}\n", "")).rate_hz == 500.0
    check(got(tmp_path, BIOPAC + lines(X, "\t")), X, ("ch1", "ch2", "ch3"), 500.0)


LABCHART = "Interval=\t0.002 s\nTimeFormat=\tStartOfBlock\nChannelTitle=\tseat\tECG\tbelt\nUnitName=\tg\tmV\tg\n"


def test_channel_titles_of_labchart_are_names(tmp_path: Path) -> None:
    for body in (lines(timed(even(0.002)), "\t"), lines(X, "\t")):
        recording = got(tmp_path, LABCHART + body)
        check(recording, X[:, ::2], ("seat", "belt"), 500.0)
        assert recording.ecg is not None
    text = lines(timed(even(0.002)), "\t").replace("\n", "\t#* comment\n", 1)
    assert "too many cells" in refusal(tmp_path, LABCHART + text)
