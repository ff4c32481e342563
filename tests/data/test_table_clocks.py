"""Times and counters in text tables give the rate and are no channels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.tables import N, X, check, even, got, has_note, lines, refusal, timed


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
    rising = np.round(np.cumsum(np.random.default_rng(9).uniform(0.1, 3.0, N)), 3)
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


@pytest.mark.parametrize(
    ("header", "step", "rate_hz"),
    [
        ("Laufzeit [min]", 1 / 30000, 500.0),
        ("X_Value (min)", 1 / 30000, 500.0),
        ("時間(min)", 1 / 30000, 500.0),
        ("経過時間(ms)", 0.05, 20000.0),
        ("Abscissa (ms)", 2, 500.0),
        ("Abscissa (ms)", 1, 1000.0),
        ("時間（ｍｓ）", 2, 500.0),
        ("min", 1 / 30000, 500.0),
        ("mins", 1 / 30000, 500.0),
        ("milliSec", 2, 500.0),
        ("Время (с)", 0.002, 500.0),
        ("Kanal 0;ms", 2, 500.0),
        ("Kanal 0;min", 1 / 30000, 500.0),
        ("Kanal 0;ms", 1, 1000.0),
    ],
)
def test_a_stated_unit_is_used_whatever_the_name_of_the_column_that_rises(
    tmp_path: Path, header: str, step: float, rate_hz: float
) -> None:
    name, _, unit = header.partition(";")
    head = f"{name},a,b,c\n" + (f"{unit},g,g,g\n" if unit else "")
    recording = got(tmp_path, head + lines(timed([f"{i * step:.12g}" for i in range(N)])))
    check(recording, X, ("a", "b", "c"), pytest.approx(rate_hz, rel=1e-6))
    assert not has_note(recording, "not state")


def test_a_rising_column_in_a_unit_that_is_none_of_time_is_refused_by_name(tmp_path: Path) -> None:
    for head in ("Depth (mm),a,b,c\n", "Kanal 0,a,b,c\nmm,g,g,g\n"):
        text = head + lines(timed(even(0.002)))
        message = refusal(tmp_path, text, rate_hz=500.0)
        assert "none of time" in message and "'mm'" in message and "channels=" in message
        check(got(tmp_path, text, rate_hz=500.0, channels=("a", "b", "c")), X, ("a", "b", "c"), 500.0)


BURSTS = [i // 8 * 0.016 for i in range(N)]
JITTER = [i * 0.002 + 0.0007 * (i * 7 % 3) for i in range(N)]
EPOCH = 1.7e9


@pytest.mark.parametrize(
    "name",
    ["PC time (s)", "Host time", "PC_timestamp", "rx_time", "utc", "arrival", "Server time", "TimeStamp (PC)", "Clock"],
)
@pytest.mark.parametrize("times", [BURSTS, JITTER], ids=["bursts", "jitter"])
@pytest.mark.parametrize("start", [0.0, EPOCH], ids=["relative", "epoch"])
@pytest.mark.parametrize("first", [False, True])
def test_a_second_and_uneven_clock_is_no_channel(
    tmp_path: Path, name: str, times: list[float], start: float, first: bool
) -> None:
    names = f"{name},time_ms" if first else f"time_ms,{name}"
    pairs = [(f"{start + t:.4f}", str(2 * i)) for i, t in enumerate(times)]
    text = f"{names},a,b,c\n" + lines(timed([",".join(p if first else p[::-1]) for p in pairs]))
    check(got(tmp_path, text), X, ("a", "b", "c"), 500.0)


def test_a_clock_with_an_empty_cell_is_no_channel(tmp_path: Path) -> None:
    stamps = [f"{2 * i},{'' if i == 70 else f'{EPOCH + t:.3f}'}" for i, t in enumerate(BURSTS)]
    recording = got(tmp_path, "time_ms,received,a,b,c\n" + lines(timed(stamps)))
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "received", "left out")
    holed = ["" if i == 5 else time for i, time in enumerate(even(0.002))]
    text = "run,a,b,c\n" + lines(timed(holed))
    assert "row 6" in refusal(tmp_path, text, rate_hz=500.0)
    check(got(tmp_path, text, rate_hz=500.0, channels=("a", "b", "c")), X, ("a", "b", "c"), 500.0)


def test_a_second_clock_that_is_asked_for_is_a_channel(tmp_path: Path) -> None:
    stamps = [f"{2 * i},{t:.3f}" for i, t in enumerate(BURSTS)]
    text = "time_ms,arrival,a,b,c\n" + lines(timed(stamps))
    assert got(tmp_path, text, channels=("arrival", "a")).channels == ("arrival", "a")


@pytest.mark.parametrize(
    ("names", "row", "rate_hz"),
    [
        (".header.stamp.secs,.header.stamp.nsecs", lambda i: f"{1706950800 + i // 50},{i % 50 * 20000000}", 50.0),
        ("year,month,day,hour,minute,second", lambda i: f"2024,2,3,10,{i // 50},{i % 50 * 1.2:.1f}", 1 / 1.2),
        ("year,month,day,hour,minute,second", lambda i: f"2024,2,3,10,0,{i * 0.02:.2f}", 50.0),
        ("sec,usec", lambda i: f"{i // 50},{i % 50 * 20000}", 50.0),
    ],
)
def test_columns_that_are_parts_of_a_time_are_joined(
    tmp_path: Path, names: str, row: Callable[[int], str], rate_hz: float
) -> None:
    recording = got(tmp_path, f"{names},a,b,c\n" + lines(timed([row(i) for i in range(N)])))
    check(recording, X, ("a", "b", "c"), pytest.approx(rate_hz))
    assert has_note(recording, "taken together as times")


def test_a_heart_rate_beside_times_is_no_part_of_them(tmp_path: Path) -> None:
    stamps = [f"{0.002 * i:.3f},{60 + i // 50}" for i in range(N)]
    assert got(tmp_path, "time_s,hr,a,b,c\n" + lines(timed(stamps))).rate_hz == 500.0
    assert got(tmp_path, "s,hr,a,b,c\n" + lines(timed(stamps))).rate_hz == 500.0


def test_a_signal_that_never_falls_is_noted(tmp_path: Path) -> None:
    recording = got(tmp_path, "time_ms,batch,a,b,c\n" + lines(timed([f"{2 * i},{i // 20}" for i in range(N)])))
    assert recording.channels == ("batch", "a", "b", "c")
    assert has_note(recording, "batch", "never falls")


@pytest.mark.parametrize("name", ["cnt", "packet", "Packet Counter", "a1", ""])
@pytest.mark.parametrize("period", [8, 10, 100, 128])
@pytest.mark.parametrize("start", [0, 5])
def test_a_counter_that_wraps_is_one_under_any_name(tmp_path: Path, name: str, period: int, start: int) -> None:
    text = f"{name},a,b,c\n" + lines(timed([(start + i) % period for i in range(N)]))
    recording = got(tmp_path, text, rate_hz=500.0)
    check(recording, X, ("a", "b", "c"), 500.0)
    assert has_note(recording, "counts")


def test_samples_that_a_wrapping_counter_shows_to_be_lost_are_gaps(tmp_path: Path) -> None:
    counts = [(i + 5 * (i >= 150)) % 64 for i in range(N)]
    filled = got(tmp_path, "seq,a,b,c\n" + lines(timed(counts)), rate_hz=1.0, gaps="fill")
    assert filled.signals.shape == (3, N + 5)


def test_ticks_that_wrap_are_no_channel(tmp_path: Path) -> None:
    ticks = [(20 * i + 65000) % 65536 for i in range(N)]
    check(got(tmp_path, "Fine,a,b,c\n" + lines(timed(ticks)), rate_hz=500.0), X, ("a", "b", "c"), 500.0)


def test_a_clock_with_a_single_time_is_refused_by_name(tmp_path: Path) -> None:
    text = refusal(tmp_path, "second,b\n0,#N/A\n,-9999\n1,3\n", rate_hz=500.0)
    assert "'second'" in text and "row 2" in text
    assert "'second'" in refusal(tmp_path, "second,b\n#N/A,1\n1.5,2\n", rate_hz=500.0)
