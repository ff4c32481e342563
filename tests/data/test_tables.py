"""Text tables of any make are read as they are meant, or refused in one line; nothing in them is ignored silently."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.readers.read import read, variables
from tests.support.tables import COUNTS, N, X, check, got, has_note, lines, refusal, save


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
    signal = got(tmp_path, text, rate_hz=1.0, channels=("a",)).signals[0]
    assert (signal[0], signal[-1]) == (COUNTS[0], 0.5)


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
        table = np.column_stack(
            [np.arange(150_000) / 500, np.random.default_rng(9).standard_normal((150_000, n_columns))]
        )
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
