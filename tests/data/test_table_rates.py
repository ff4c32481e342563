"""A sampling rate that the text of a table states is used, refused or noted."""

from pathlib import Path

import pytest

from tests.support.tables import X, check, even, got, has_note, lines, refusal, timed


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


@pytest.mark.parametrize(
    ("number", "as_points", "as_commas"),
    [
        ("2.000", 2.0, 2000.0),
        ("2,000", None, 2.0),
        ("2.000.000", None, None),
        ("0.500", 0.5, 0.5),
        ("250.0", 250.0, 250.0),
    ],
)
def test_three_digits_behind_a_mark_are_read_as_the_numbers_of_the_table_show(
    tmp_path: Path, number: str, as_points: float | None, as_commas: float | None
) -> None:
    points, commas = (lines(X, ";"), lines(X, ";").replace(".", ","))
    for table, rate_hz in ((points, as_points), (commas, as_commas)):
        text = f"Abtastrate: {number} Hz\na;b;c\n{table}"
        if rate_hz is None:
            assert f"{number!r}" in refusal(tmp_path, text) and "two ways" in refusal(tmp_path, text)
        else:
            assert got(tmp_path, text).rate_hz == rate_hz
        between = f"a;b;c\n{table}# fs: {number}\n{table}"
        if rate_hz is not None:
            assert got(tmp_path, between).rate_hz == rate_hz


@pytest.mark.parametrize(("number", "rate_hz"), [("1.000", None), ("1,000", None), ("1000.000", 1000.0)])
def test_three_digits_behind_a_mark_above_a_table_of_whole_numbers_are_refused(
    tmp_path: Path, number: str, rate_hz: float | None
) -> None:
    table = "\n".join(f"{i * i % 97};{i * i % 89}" for i in range(200))
    text = f"Sample rate: {number} Hz\na;b\n{table}\n"
    if rate_hz is None:
        assert "two ways" in refusal(tmp_path, text)
    else:
        assert got(tmp_path, text).rate_hz == rate_hz
    if number == "1.000":  # commas delimit, so the point is the decimal mark
        assert got(tmp_path, text.replace(";", ",")).rate_hz == 1.0


@pytest.mark.parametrize(
    "line",
    [
        *(
            "ECG sampling rate: 250 Hz",
            "GPS sampling rate: 1000 Hz",
            "Video fs: 300",
            "Original sampling rate: 1000 Hz",
        ),
        *("ADC sampling rate: 4000 Hz, decimation: 8", "Subject: fs 250", "Sampling rate (ECG): 250 Hz"),
        *("Sampling rate: 4000 Hz, decimation: 8", "Sampling rate: 500 Hz\nDownsampled to: 250 Hz"),
    ],
)
def test_a_rate_of_something_else_is_not_used_and_a_note_says_so(tmp_path: Path, line: str) -> None:
    table = "a,b,c\n" + lines(X)
    assert "give rate_hz=" in refusal(tmp_path, f"{line}\n{table}")
    recording = got(tmp_path, f"{line}\n{table}", rate_hz=123.0)
    check(recording, X, ("a", "b", "c"), 123.0)
    assert has_note(recording, "is not used")
    timed_too = got(tmp_path, f"{line}\nt_s,a,b,c\n" + lines(timed(even(0.002))))
    check(timed_too, X, ("a", "b", "c"), 500.0)


def test_a_rate_of_the_signals_beside_one_of_something_else_is_used(tmp_path: Path) -> None:
    for own in ("Sampling rate: 500 Hz", "Sampling rate (ACC): 500 Hz", "Accelerometer sampling rate: 500 Hz"):
        recording = got(tmp_path, f"ECG sampling rate: 250 Hz\n{own}\na,b,c\n" + lines(X))
        check(recording, X, ("a", "b", "c"), 500.0)
        assert has_note(recording, "'ecg'", "not used")


@pytest.mark.parametrize(
    ("unit", "rate_hz"),
    [
        *((unit, 2000.0) for unit in ("kS/s", "kSa/s", "kSps", "ksamples/s", "kilosamples/s", "KHz", "kHz/ch")),
        *((unit, 2.0) for unit in ("samples/s", "S/s", "SPS", "per second", "samples per second", "1/s", "/s")),
        *((unit, 1 / 30) for unit in ("points/min", "/min", "samples per minute")),
        ("mHz", 0.002),
        ("MHz", 2e6),
    ],
)
def test_the_unit_behind_a_rate_scales_it(tmp_path: Path, unit: str, rate_hz: float) -> None:
    recording = got(tmp_path, f"Sampling rate: 2 {unit}\na,b,c\n" + lines(X))
    assert recording.rate_hz == pytest.approx(rate_hz)


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        *((f"2 {unit}", f"'{unit}'") for unit in ("k", "samples", "furlongs/s", "Hz/s")),
        ("500/250", "two ways"),
        ("1024 Hz / 2 channels", "two ways"),
    ],
)
def test_an_unknown_unit_behind_a_rate_is_refused(tmp_path: Path, rate: str, shown: str) -> None:
    assert shown in refusal(tmp_path, f"Sampling rate: {rate}\na,b,c\n" + lines(X))


@pytest.mark.parametrize("line", ["Interval=\t0.004 s", "Interval=\t4 ms", "Delta_X\t0.004\t0.004", "Delta_X\t0,004"])
def test_an_interval_of_labchart_or_labview_is_the_rate_or_refused_beside_other_times(
    tmp_path: Path, line: str
) -> None:
    check(got(tmp_path, f"{line}\na\tb\tc\n" + lines(X, "\t")), X, ("a", "b", "c"), 250.0)
    text = f"{line}\nX_Value\ta\tb\tc\n" + lines(timed(even(0.004)), "\t")
    check(got(tmp_path, text), X, ("a", "b", "c"), 250.0)
    message = refusal(tmp_path, f"{line}\nX_Value\ta\tb\tc\n" + lines(timed(even(0.002)), "\t"))
    assert "250 Hz" in message and "500 Hz" in message


def test_intervals_that_differ_between_columns_are_refused(tmp_path: Path) -> None:
    assert "differ" in refusal(tmp_path, "Delta_X\t0.004\t0.002\t0.004\na\tb\tc\n" + lines(X, "\t"))
