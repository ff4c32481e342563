"""Text tables of any make are read as they are meant, or refused in one line; nothing in them is ignored silently."""

import io
import tracemalloc
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.read import read, variables
from data.recording import Recording

Floats = NDArray[np.float64]
RNG = np.random.default_rng(7)
N = 200
X = np.round(RNG.uniform(-1, 1, (N, 3)), 4)  # three channels of noise
COUNTS = RNG.integers(10000, 99999, N)


def lines(rows: Any, delimiter: str = ",", decimal: str = ".") -> str:
    """Rows of numbers as text, each as Python prints it."""
    return "".join(
        delimiter.join(cell if isinstance(cell, str) else str(cell).replace(".", decimal) for cell in row) + "\n"
        for row in (row.tolist() if isinstance(row, np.ndarray) else row for row in rows)
    )


def timed(times: Sequence[object], samples: Floats = X) -> list[list[object]]:
    """Rows of a time and the samples."""
    return [[time, *row] for time, row in zip(times, samples.tolist(), strict=True)]


def even(step: float, places: int = 6, start: float = 0.0) -> list[float]:
    return [round(start + i * step, places) for i in range(N)]


def save(folder: Path, text: str, name: str = "x.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def got(folder: Path, text: str, **options: Any) -> Recording:
    return read(save(folder, text), **options)


def refusal(folder: Path, text: str, **options: Any) -> str:
    """The one line that a table is refused with."""
    with pytest.raises(DataError) as raised:
        got(folder, text, **options)
    message = str(raised.value)
    assert "\n" not in message and "x.csv" in message
    assert "is it complete and really of that kind" not in message, "an error of a library, not ours"
    return message


def check(recording: Recording, expected: Floats, channels: tuple[str, ...], rate_hz: object) -> None:
    np.testing.assert_allclose(recording.signals, expected.T.astype(np.float32), rtol=1e-7, atol=0)
    assert (recording.channels, recording.rate_hz) == (channels, rate_hz)


def has_note(recording: Recording, *words: str) -> bool:
    return any(all(word in note for word in words) for note in recording.notes)


# 1. Encodings


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("cp1252", "Windows-1252"),
    ],
)
def test_any_usual_encoding_is_read_and_a_note_says_which(tmp_path: Path, encoding: str, said: str | None) -> None:
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    path = save(tmp_path, f"{mark}Größe;µ\n{lines(X[:, :2], ';')}", encoding=encoding)
    recording = read(path, rate_hz=500.0)
    check(recording, X[:, :2], ("Größe", "µ"), 500.0)
    assert recording.notes == (() if said is None else (f"the text is not UTF-8 and is read as {said}",))


def test_a_byte_that_is_no_utf_8_far_down_is_read_as_the_rest(tmp_path: Path) -> None:
    recording = read(save(tmp_path, lines(X) * 100 + "# Größe\n", encoding="cp1252"), rate_hz=500.0)
    assert recording.signals.shape == (3, 100 * N)
    assert has_note(recording, "Windows-1252")


def test_binary_numbers_and_unmarked_utf_16_are_refused(tmp_path: Path) -> None:
    for content in (X.tobytes(), lines(X).encode("utf-16-le"), b"\xff\xfe1", b"1,2\n3,\x004\n"):
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.csv: .*(control character|byte order mark).*Save it as UTF-8"):
            read(tmp_path / "x.csv", rate_hz=1.0)


# 2. Delimiters and decimal marks


@pytest.mark.parametrize("delimiter", ["\t", ";", ",", "|", " ", "   ", ", ", " ; ", "\t "])
@pytest.mark.parametrize("decimal", [".", ","])
def test_any_usual_delimiter_and_decimal_mark_is_recognised(tmp_path: Path, delimiter: str, decimal: str) -> None:
    if decimal == delimiter.strip():
        pytest.skip("see the tests of commas")
    for header in ("", delimiter.join("abc") + "\n"):
        recording = got(tmp_path, header + lines(X, delimiter, decimal), rate_hz=500.0)
        check(recording, X, ("a", "b", "c") if header else ("ch1", "ch2", "ch3"), 500.0)


def test_a_decimal_comma_after_thousands_of_integers_is_one(tmp_path: Path) -> None:
    text = "a;b\n" + lines(np.column_stack([COUNTS, COUNTS[::-1]]), ";") * 30 + "0,5;3\n"
    assert got(tmp_path, text, rate_hz=1.0, channels=("a",)).signals[0, -1] == pytest.approx(0.5, abs=0.01 + 1e5)


def test_points_and_commas_as_decimal_marks_in_one_table_are_refused(tmp_path: Path) -> None:
    text = refusal(tmp_path, "a;b\n" + lines(X[:, :2], ";") + "0,5;3\n", rate_hz=1.0)
    assert f"row {N + 1}" in text and f"line {N + 2}" in text and "'0,5'" in text and "decimal point" in text


def test_quoted_decimal_commas_between_commas_are_numbers(tmp_path: Path) -> None:
    quoted = "".join(",".join(f'"{str(c).replace(".", ",")}"' for c in row) + "\n" for row in X.tolist())
    check(got(tmp_path, '"a","b","c"\n' + quoted, rate_hz=1.0), X, ("a", "b", "c"), 1.0)


def test_leading_zeros_after_commas_show_decimal_commas(tmp_path: Path) -> None:
    """`0,05732` is a number; it is never two columns 0 and 5732."""
    expected = np.array([float(f"0.{count:05d}") for count in COUNTS // 7])
    text = "".join(f"0,{count:05d}\n" for count in COUNTS // 7)
    check(got(tmp_path, text, rate_hz=1.0), expected[:, None], ("ch1",), 1.0)


def test_a_negative_zero_before_the_comma_shows_decimal_commas(tmp_path: Path) -> None:
    signs = np.where(np.arange(N) % 3 == 0, -1, 1)
    text = "".join(f"{'-' if s < 0 else ''}0,{count}\n" for s, count in zip(signs, COUNTS, strict=True))
    check(got(tmp_path, text, rate_hz=1.0), (signs * COUNTS / 1e5)[:, None], ("ch1",), 1.0)


def test_a_sign_after_the_comma_shows_columns(tmp_path: Path) -> None:
    rows = np.column_stack([COUNTS, np.where(np.arange(N) == N - 1, -1, 1) * COUNTS[::-1]])
    assert got(tmp_path, lines(rows), rate_hz=1.0).channels == ("ch1", "ch2")


def test_a_point_anywhere_shows_columns(tmp_path: Path) -> None:
    rows = np.column_stack([COUNTS, COUNTS[::-1]])
    assert got(tmp_path, lines(rows) * 20 + "1,2.5\n", rate_hz=1.0).channels == ("ch1", "ch2")


def test_names_over_integers_and_commas_tell_columns_from_decimals(tmp_path: Path) -> None:
    rows = np.column_stack([COUNTS, COUNTS[::-1]])
    assert got(tmp_path, "a,b\n" + lines(rows), rate_hz=1.0).channels == ("a", "b")
    one = got(tmp_path, "acc\n" + "".join(f"0,{count}\n" for count in COUNTS) + "1\n", rate_hz=1.0)
    check(one, np.append(COUNTS / 1e5, 1.0)[:, None], ("acc",), 1.0)


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("", [[0, count] for count in COUNTS]),
        ("", [[count % 7, count % 997 + 1] for count in COUNTS]),
        ("", [[1, count % 7 + 1, 2, count % 5 + 1] for count in COUNTS]),
        ("Acc, m/s2\n", [["0", f"{count % 1000:04d}"] for count in COUNTS]),
        ("t,acc\n", [["0", f"{i:03d}", "1", f"{COUNTS[i]}"] for i in range(N)]),
        ("acc\n", [[count, -count] for count in COUNTS]),
        ("", [["0", "05"], ["1", "-5"], *[["2", "7"]] * N]),
    ],
)
def test_commas_that_nothing_explains_are_refused_with_both_readings(
    tmp_path: Path, header: str, rows: list[list[object]]
) -> None:
    text = refusal(tmp_path, header + lines(rows), rate_hz=1.0)
    assert "decimal commas" in text and "columns of integers" in text
    assert "save the table with a header, a decimal point, or semicolons" in text


# 3. Heads


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


# 4. Stated rates


@pytest.mark.parametrize(
    ("line", "rate_hz"),
    [
        ("# Sampling rate: 1000 Hz", 1000.0),
        ("% fs = 500", 500.0),
        ("sample_rate,2000", 2000.0),
        ("Samplerate 1 kHz", 1000.0),
        ("Sampling frequency [kHz]: 4", 4000.0),
        ("sampling_rate_hz: 400", 400.0),
        ("# Fs: 62,5 Hz", 62.5),
        ("Sample interval: 2 ms", 500.0),
        ("Sampling rate: 2 ms", 500.0),
        ("# dt = 0.001", 1000.0),
    ],
)
def test_a_stated_rate_is_used(tmp_path: Path, line: str, rate_hz: float) -> None:
    check(got(tmp_path, f"{line}\na,b,c\n" + lines(X)), X, ("a", "b", "c"), rate_hz)
    check(got(tmp_path, f"{line}\n" + lines(X)), X, ("ch1", "ch2", "ch3"), rate_hz)
    check(got(tmp_path, f"{line}\n" + lines(X[:, :1])), X[:, :1], ("ch1",), rate_hz)


@pytest.mark.parametrize(
    "line", ["# heart rate: 70", "# frame rate 30", "# offs = 5", "# rate of rise 7", "# data rate: 2 Mbit/s"]
)
def test_another_rate_is_not_that_of_sampling(tmp_path: Path, line: str) -> None:
    assert "give rate_hz=" in refusal(tmp_path, f"{line}\n" + lines(X))


def test_a_stated_rate_that_the_times_contradict_is_refused_with_both(tmp_path: Path) -> None:
    table = "t_s,a,b,c\n" + lines(timed(even(0.002)))
    text = refusal(tmp_path, "# fs = 501\n" + table)
    assert "501 Hz" in text and "500 Hz" in text
    assert got(tmp_path, "# fs = 500.2\n" + table).rate_hz == 500.0


def test_two_stated_rates_are_refused_also_between_the_rows(tmp_path: Path) -> None:
    for text in ("# fs = 500\nfs: 250\n" + lines(X), "# fs = 500\n" + lines(X) + "# fs = 250\n" + lines(X)):
        message = refusal(tmp_path, text)
        assert "500 Hz" in message and "250 Hz" in message


def test_a_stated_rate_that_can_be_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    assert "'1,000'" in refusal(tmp_path, "# Sampling rate: 1,000 Hz\n" + lines(X))


# 5. Clocks and counters


@pytest.mark.parametrize(
    ("name", "step", "rate_hz"),
    [
        ("Time (s)", 0.002, 500.0),
        ("t_ms", 4, 250.0),
        ("time[ms]", 0.25, 4000.0),
        ("t/s", 0.01, 100.0),
        ("elapsed_us", 125, 8000.0),
        ("timestamp_ns", 1000000, 1000.0),
        ("timeMs", 2, 500.0),
        ("s", 0.002, 500.0),
        ("msec", 1, 1000.0),
        ("seconds_elapsed", 0.001, 1000.0),
        ("Zeit [ms]", 5, 200.0),
        ("Timer (min)", 0.0001, 1 / 0.006),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_clock_gives_the_rate_and_is_no_signal_wherever_it_stands(
    tmp_path: Path, name: str, step: float, rate_hz: float, place: int
) -> None:
    names = ["a", "b", "c"]
    names.insert(place, name)
    times = [round(i * step, 6) if isinstance(step, float) else i * step for i in range(N)]
    rows = [[*row[:place], time, *row[place:]] for time, row in zip(times, X.tolist(), strict=True)]
    recording = got(tmp_path, ",".join(names) + "\n" + lines(rows))
    check(recording, X, ("a", "b", "c"), pytest.approx(rate_hz, rel=1e-6))
    assert not recording.notes


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_since_1970_have_the_unit_of_their_magnitude(tmp_path: Path, unit: str) -> None:
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    stamps = [
        f"{1700000000 + i * 0.002:.3f}" if unit == "s" else 1700000000 * scale + i * scale // 500 for i in range(N)
    ]
    recording = got(tmp_path, "timestamp,a,b,c\n" + lines(timed(stamps)))
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "since 1970", f"in {unit},")


@pytest.mark.parametrize(
    "form",
    [
        "2024-05-31T23:59:{:06.3f}",
        "2024-05-31 23:59:{:06.3f}+02:00",
        "31.05.2024 23:59:{:06.3f}",
        "23:59:{:06.3f}",
        "05/31/2024 11:59:{:06.3f} PM",
        "'23:59:{:06.3f}'",
    ],
)
def test_dates_and_times_of_day_give_the_rate_also_past_midnight(tmp_path: Path, form: str) -> None:
    after = form.replace("23:59", "00:00").replace("11:59", "12:00").replace("PM", "AM")
    after = after.replace("2024-05-31", "2024-06-01").replace("31.05.", "01.06.").replace("05/31", "06/01")
    stamps = [form.format(59.8 + i / 500) if i < 100 else after.format(i / 500 - 0.2) for i in range(N)]
    check(got(tmp_path, "date,a,b,c\n" + lines(timed(stamps))), X, ("a", "b", "c"), 500.0)
    check(got(tmp_path, "when;a;b;c\n" + lines(timed(stamps), ";", ",")), X, ("a", "b", "c"), 500.0)


def test_a_date_beside_the_time_of_day_is_left_out_with_a_note(tmp_path: Path) -> None:
    stamps = [f"31.05.2024,12:30:{i / 500:06.3f}" for i in range(N)]
    recording = got(tmp_path, "Date,Time,a,b,c\n" + lines(timed(stamps)))
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "Date", "left out")


def test_dates_of_which_the_time_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    stamps = [f"{31 if i < 150 else 29}.05.2024 12:30:{i / 500:06.3f}" for i in range(N)]
    assert "midnight" in refusal(tmp_path, "date,a,b,c\n" + lines(timed(stamps)))


def test_times_of_day_in_whole_seconds_do_not_make_a_rate_up(tmp_path: Path) -> None:
    coarse = [f"12:30:{i // 50:02d}" for i in range(N)]
    assert "rate" in refusal(tmp_path, "clock,a,b,c\n" + lines(timed(coarse)))
    both = [f"{stamp},{2 * i}" for i, stamp in enumerate(coarse)]
    recording = got(tmp_path, "clock,ms,a,b,c\n" + lines(timed(both)))
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "clock", "left out")


@pytest.mark.parametrize(
    "name", ["sample", "Sample No.", "index", "n", "frame", "#", "", "Unnamed: 0", "Time (samples)"]
)
def test_a_counter_is_left_out_and_gives_no_rate(tmp_path: Path, name: str) -> None:
    text = f"{name},a,b,c\n" + lines(timed(range(5, N + 5)))
    recording = got(tmp_path, text, rate_hz=440.0)
    check(recording, X, ("a", "b", "c"), 440.0)
    assert has_note(recording, "counts the samples")
    assert "give rate_hz=" in refusal(tmp_path, text)


def test_samples_that_a_counter_shows_to_be_lost_are_gaps(tmp_path: Path) -> None:
    counts = [i + 5 * (i >= 150) for i in range(N)]
    text = "sample,a,b,c\n" + lines(timed(counts))
    assert got(tmp_path, text, rate_hz=1.0, gaps="fill").signals.shape == (3, N + 5)
    assert "starts again in row 64" in refusal(tmp_path, "sample,a,b,c\n" + lines(timed([i % 63 for i in range(N)])))
    text = refusal(tmp_path, "sample,t_s,a,b,c\n" + lines(timed([f"{c},{i / 500}" for i, c in enumerate(counts)])))
    assert "'sample'" in text and "'t_s'" in text


def test_a_counter_that_wraps_is_no_signal(tmp_path: Path) -> None:
    for header in ("", "nSeq,a,b,c\n"):
        recording = got(tmp_path, header + lines(timed([i % 16 for i in range(N)])), rate_hz=1.0)
        check(recording, X, ("a", "b", "c") if header else ("ch1", "ch2", "ch3"), 1.0)
        assert has_note(recording, "count")


def test_a_column_named_like_a_counter_that_does_not_count_is_a_signal(tmp_path: Path) -> None:
    check(got(tmp_path, "n,e,z\n" + lines(X), rate_hz=1.0), X, ("n", "e", "z"), 1.0)


@pytest.mark.parametrize("header", ["", "x,a,b,c\n"])
def test_an_unnamed_column_that_rises_evenly_is_a_clock_or_counter_and_never_a_channel(
    tmp_path: Path, header: str
) -> None:
    names = ("a", "b", "c") if header else ("ch1", "ch2", "ch3")
    clock = got(tmp_path, header + lines(timed(even(0.002))))
    check(clock, X, names, 500.0)
    assert has_note(clock, "in s", "not state")
    count = got(tmp_path, header + lines(timed(range(N))), rate_hz=440.0)
    check(count, X, names, 440.0)
    assert has_note(count, "rises by 1")
    assert "give rate_hz=" in refusal(tmp_path, header + lines(timed(range(0, 4 * N, 4))))
    check(got(tmp_path, header + lines(timed(range(0, 4 * N, 4))), rate_hz=250.0), X, names, 250.0)
    last = got(tmp_path, lines([[*row, time] for time, row in zip(even(0.002), X.tolist(), strict=True)]))
    check(last, X, ("ch1", "ch2", "ch3"), 500.0)
    coarse = got(tmp_path, header + lines(timed(even(1 / 1024, places=3))), rate_hz=1024.0)
    assert coarse.channels == names


def test_an_unnamed_column_that_rises_unevenly_is_refused_unless_others_are_named(tmp_path: Path) -> None:
    rising = np.round(np.cumsum(RNG.uniform(0.1, 3.0, N)), 3)
    text = "x,a,b,c\n" + lines(timed(rising.tolist()))
    assert "'x' rises in every row" in refusal(tmp_path, text, rate_hz=1.0)
    check(got(tmp_path, text, rate_hz=1.0, channels=("a", "b", "c")), X, ("a", "b", "c"), 1.0)
    assert got(tmp_path, text, rate_hz=1.0, channels=("x",)).channels == ("x",)


def test_a_clock_s_name_on_a_signal_is_refused_by_name_unless_it_is_asked_for(tmp_path: Path) -> None:
    text = "t,a,b\n" + lines(X)
    message = refusal(tmp_path, text, rate_hz=1.0)
    assert "'t'" in message and "channels=" in message
    check(got(tmp_path, text, rate_hz=1.0, channels=("a", "b")), X[:, 1:], ("a", "b"), 1.0)
    check(got(tmp_path, text, rate_hz=1.0, channels=("t", "a")), X[:, :2], ("t", "a"), 1.0)
    check(got(tmp_path, "t\n" + lines(X[:, :1]), rate_hz=1.0), X[:, :1], ("t",), 1.0)


def test_a_temperature_in_degrees_is_no_time(tmp_path: Path) -> None:
    check(got(tmp_path, "T (degC),a,b\n" + lines(X), rate_hz=1.0), X, ("T (degC)", "a", "b"), 1.0)


def test_broken_times_are_refused_although_channels_are_named(tmp_path: Path) -> None:
    times = even(0.002)
    times[100:] = [time - 0.05 for time in times[100:]]
    text = "time,a,b,c\n" + lines(timed(times))
    assert "row 101" in refusal(tmp_path, text, rate_hz=500.0, channels=("a",))
    text = "time,a,b,c\n" + lines(timed(["lost" if i == 50 else t for i, t in enumerate(even(0.002))]))
    assert "'lost'" in refusal(tmp_path, text, rate_hz=500.0, channels=("a",))


def test_times_without_a_unit_are_in_s_with_a_note_or_refused(tmp_path: Path) -> None:
    recording = got(tmp_path, "time,a,b,c\n" + lines(timed(even(0.002))))
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "time", "in s", "not state")
    for step in (1, 2, 40):
        message = refusal(tmp_path, "time,a,b,c\n" + lines(timed(range(0, step * N, step))))
        assert "'time_ms'" in message and "rate_hz=" in message


@pytest.mark.parametrize(("step", "rate_hz", "unit"), [(1, 1000.0, "ms"), (2, 500.0, "ms"), (250, 4000.0, "us")])
def test_a_stated_rate_tells_the_unit_of_times(tmp_path: Path, step: int, rate_hz: float, unit: str) -> None:
    text = "time,a,b,c\n" + lines(timed(range(0, step * N, step)))
    for recording in (got(tmp_path, text, rate_hz=rate_hz), got(tmp_path, f"# fs = {rate_hz}\n" + text)):
        check(recording, X, ("a", "b", "c"), rate_hz)
        assert has_note(recording, f"times in {unit},", "stated rate")
    assert "time_ms" in refusal(tmp_path, text, rate_hz=1.3 * rate_hz)


def test_times_in_days_and_units_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    days = [f"{45000.5 + i * 0.01 / 86400:.10f}" for i in range(N)]
    assert "days" in refusal(tmp_path, "time,a,b,c\n" + lines(timed(days)))
    stamps = [1700000000000 + 2 * i for i in range(N)]
    assert "cannot be in the unit" in refusal(tmp_path, "time_s,a,b,c\n" + lines(timed(stamps)))
    assert "'fortnights'" in refusal(tmp_path, "Time (fortnights),a,b,c\n" + lines(timed(even(0.002))))


def test_two_clocks_that_contradict_are_refused(tmp_path: Path) -> None:
    stamps = [f"{i * 2},{i * 0.004:.3f}" for i in range(N)]
    message = refusal(tmp_path, "t_ms,t_s,a,b,c\n" + lines(timed(stamps)))
    assert "500 Hz" in message and "250 Hz" in message
    agreed = [f"{1700000000000 + i * 4},{i * 0.004:.3f}" for i in range(N)]
    check(got(tmp_path, "time,seconds_elapsed,a,b,c\n" + lines(timed(agreed))), X, ("a", "b", "c"), 250.0)


def test_a_table_of_times_only_is_refused(tmp_path: Path) -> None:
    for header in ("time\n", "", "x\n"):
        assert "no column is a signal" in refusal(tmp_path, header + lines([[t] for t in even(0.002)]), rate_hz=500.0)


# 6. Gaps and jitter of times


def test_lost_samples_are_gaps_of_as_many_as_fit(tmp_path: Path) -> None:
    times = [time + 0.010 * (i >= 50) + 0.004 * (i >= 120) for i, time in enumerate(even(0.002))]
    text = "time (s),a,b,c\n" + lines(timed([round(time, 6) for time in times]))
    cut, filled = got(tmp_path, text), got(tmp_path, text, gaps="fill")
    check(cut, X, ("a", "b", "c"), 500.0)
    assert filled.signals.shape == (3, N + 7)
    assert filled.signals[0, 52] == pytest.approx(X[49, 0] + (X[50, 0] - X[49, 0]) * 3 / 6, abs=1e-6)
    assert has_note(cut, "gaps of 7 samples") and has_note(cut, "2 gaps of 0.014 s")
    assert "NaN" in refusal(tmp_path, text, gaps="refuse")


def test_gaps_of_more_than_a_tenth_are_refused(tmp_path: Path) -> None:
    for gap in (0.2, 1e9):
        times = [round(time + gap * (i >= 50), 6) for i, time in enumerate(even(0.002))]
        message = refusal(tmp_path, "time (s),a,b,c\n" + lines(timed(times)))
        assert "at most 10 %" in message and "equal steps" in message


def test_jitter_is_interpolated_to_an_even_rate_with_a_note(tmp_path: Path) -> None:
    """A slow sine is the same at the times of the grid."""
    for seed in range(5):
        times = np.arange(2000) / 500 + np.random.default_rng(seed).uniform(-0.0004, 0.0004, 2000)
        rows = [[f"{t:.7f}", f"{np.sin(2 * np.pi * 3 * t):.9f}"] for t in times]
        recording = got(tmp_path, "time (s),a\n" + lines(rows))
        assert recording.rate_hz == pytest.approx(500.0, rel=2e-5)
        assert recording.signals.shape == (1, 2000)
        expected = np.sin(2 * np.pi * 3 * np.arange(2000) / 500)
        np.testing.assert_allclose(recording.signals[0, 1:-1], expected[1:-1], rtol=0, atol=2e-3)
        assert has_note(recording, "jitter by up to", "% of a step")


def test_jitter_beside_a_gap_keeps_the_gap(tmp_path: Path) -> None:
    times = np.arange(2000) / 500 + np.random.default_rng(3).uniform(-0.0004, 0.0004, 2000)
    times[900:] += 0.1
    rows = [[f"{t:.7f}", f"{np.sin(2 * np.pi * 3 * t):.9f}"] for t in times]
    recording = got(tmp_path, "time (s),a\n" + lines(rows), gaps="fill")
    assert recording.signals.shape == (1, 2050)
    assert has_note(recording, "1 gap of") and has_note(recording, "jitter")


@pytest.mark.parametrize("fault", ["falls", "repeats", "jitters"])
def test_times_that_fall_or_jitter_by_more_than_half_a_step_are_refused(tmp_path: Path, fault: str) -> None:
    times = np.arange(N) / 500
    if fault == "jitters":
        times = np.cumsum(np.random.default_rng(2).uniform(0.0002, 0.004, N))
    else:
        times[77:] -= 0.002 if fault == "repeats" else 0.003
    message = refusal(tmp_path, "time (s),a,b,c\n" + lines(timed([f"{t:.6f}" for t in times])))
    assert "does not rise in equal steps" in message
    assert fault == "jitters" or "row 78" in message


# 7. Cells


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


# 8. Channels and ECG


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


# 9. Files


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".dat", ".TXT"])
def test_the_suffix_decides_nothing_about_the_table(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path, "a;b;c\n" + lines(X, ";", ","), name=f"x{suffix}")
    check(read(path, rate_hz=1.0), X, ("a", "b", "c"), 1.0)
    assert [v.name for v in variables(path)] == ["a", "b", "c"]


def test_a_dat_file_is_a_record_beside_its_header_and_refused_as_one_if_it_is_no_text(tmp_path: Path) -> None:
    path = save(tmp_path, lines(X), name="x.dat")
    (tmp_path / "x.hea").write_text("x 1 500 200\nx.dat 16 100/mV 16 0 0 0 0 z\n")
    assert read(path).channels == ("z",)
    (tmp_path / "y.dat").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(DataError, match=r"y\.hea"):
        read(tmp_path / "y.dat")


def test_reading_takes_no_more_than_three_times_the_memory_of_the_numbers(tmp_path: Path) -> None:
    for n_columns in (2, 4):
        table = np.column_stack([np.arange(150_000) / 500, RNG.standard_normal((150_000, n_columns))])
        np.savetxt(
            tmp_path / "x.csv", table, fmt="%.5f", delimiter=",", header="t_s,a,b,c,d"[: 3 + 2 * n_columns], comments=""
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(tmp_path / "x.csv")  # imports
            tracemalloc.start()
            read(tmp_path / "x.csv")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 3 * table.nbytes + 1e6, f"{peak / table.nbytes:.2f} times the numbers"


FLOATS = st.floats(-1e6, 1e6, width=32).map(lambda x: round(x, 3))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_table_written_in_any_dialect_is_read_back_equal(tmp_path: Path, data: st.DataObject) -> None:
    """Values are those that were written; no channel is lost, added or exchanged."""
    delimiter, decimal = data.draw(st.sampled_from([(d, m) for d in "\t;| ," for m in ".," if d != m]))
    n_rows, n_columns = data.draw(st.integers(6, 40)), data.draw(st.integers(2, 5))
    seed = data.draw(st.integers(0, 2**32 - 1))
    table = np.round(
        np.random.default_rng(seed).normal(0, 10.0 ** data.draw(st.integers(-2, 5)), (n_rows, n_columns)), 5
    )
    form = data.draw(st.sampled_from(["{!r}", "{:.5f}", "{:.10e}", "{:+.6f}", " {:12.6f}"]))
    if delimiter == "\t" and form.startswith(" "):
        form = form.strip()
    names = [f"c{i}x" for i in range(n_columns)] if data.draw(st.booleans()) else None
    clock = data.draw(st.sampled_from([None, 0, n_columns]))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    trailing = delimiter if delimiter not in " \t" and data.draw(st.booleans()) else ""
    quoted = data.draw(st.booleans())
    text = data.draw(st.sampled_from(["", "# a comment" + end, "Title" + end + end]))
    cells = [[form.format(value).replace(".", decimal) for value in row] for row in table.tolist()]
    if quoted:
        cells = [[f'"{cell.strip()}"' for cell in row] for row in cells]
    if clock is not None:
        for i, row in enumerate(cells):
            row.insert(clock, f"{i * 0.002:.3f}".replace(".", decimal))
    if names is not None:
        shown = [f'"{name}"' for name in names]
        if clock is not None:
            shown.insert(clock, "Time_(s)")
        text += delimiter.join(shown) + trailing + end
    text += "".join(delimiter.join(row) + trailing + end for row in cells)
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    path = save(tmp_path, text, encoding=encoding)
    expected = np.array([[float(form.format(value)) for value in row] for row in table.tolist()])
    recording = read(path, rate_hz=500.0)
    assert recording.channels == tuple(names or (f"ch{i + 1}" for i in range(n_columns)))
    means = [not any(f"channel {name}: its mean" in note for note in recording.notes) for name in recording.channels]
    np.testing.assert_allclose(recording.signals[means], expected.T[means].astype(np.float32), rtol=2e-7)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("0123456789.,;\t -+eE\n#\"'|abtNms:/"), max_size=300))
def test_any_text_is_read_or_refused_in_one_line_without_errors_of_libraries(tmp_path: Path, text: str) -> None:
    if not text:
        return
    try:
        read(save(tmp_path, text), rate_hz=100.0)
    except DataError as error:
        assert "\n" not in str(error)
        assert "is it complete and really of that kind" not in str(error)
