"""TDMS files: channels of all groups, each at the rate that it states, and nothing beside the file."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nptdms import ChannelObject, GroupObject, RootObject, TdmsFile, TdmsWriter
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.read import read, variables

NOISE = np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)


def write(path: Path, *objects: Any) -> Path:
    with TdmsWriter(path) as file:
        file.write_segment(list(objects))
    return path


def waveform(name: str, rate_hz: float, samples: NDArray[Any] = NOISE, group: str = "g", **more: Any) -> ChannelObject:
    return ChannelObject(group, name, samples, {"wf_increment": 1 / rate_hz, "wf_start_offset": 0.0, **more})


def tone(rate_hz: float) -> NDArray[np.float64]:
    return np.asarray(np.sin(2 * np.pi * 5 * np.arange(round(4 * rate_hz)) / rate_hz), np.float64)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_values_of_all_numeric_types_are_those_written(dtype: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 100, 500).astype(dtype)
    path = write(tmp_path / "x.tdms", waveform("a", 100.0, samples))
    assert read(path).signals.tolist() == [samples.tolist()]
    assert [str(v) for v in variables(path)] == [f"a (500 {np.dtype(dtype)})"]


@pytest.mark.parametrize("rate_hz", [100.0, 1000.0, 25600.0, 51200.0, 44100.0, 22050.0, 3000.0, 0.5, 97656.25])
def test_the_rate_is_that_of_the_waveform_without_the_rounding_of_its_step(rate_hz: float, tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.tdms", waveform("a", rate_hz))).rate_hz == rate_hz


@pytest.mark.parametrize("place", ["channel", "group", "file"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("Sampling rate", 800.0), ("sample_rate", 800), ("fs", "800"), ("Sample Rate (Hz)", 800.0), ("dt", 0.00125)],
)
def test_without_a_waveform_the_rate_is_a_property_of_the_channel_its_group_or_the_file(
    name: str, value: object, place: str, tmp_path: Path
) -> None:
    held = {key: {name: value} if key == place else {"comment": "fs"} for key in ("channel", "group", "file")}
    path = write(
        tmp_path / "x.tdms",
        RootObject(held["file"]),
        GroupObject("g", held["group"]),
        ChannelObject("g", "a", NOISE, held["channel"]),
    )
    assert read(path).rate_hz == 800.0


def test_without_either_the_rate_is_that_of_the_times_beside_the_channels(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.tdms",
        ChannelObject("g", "Time (ms)", np.arange(4000) * 1.25),
        ChannelObject("g", "a", NOISE),
        ChannelObject("g", "b", NOISE),
    )
    recording = read(path)
    assert (recording.channels, recording.rate_hz) == (("a", "b"), 800.0)
    assert recording.notes == ("Time (ms) is a clock of 800 Hz, and left out",)


def test_dates_of_the_samples_give_the_rate(tmp_path: Path) -> None:
    dates = np.datetime64("2024-02-03", "us") + np.arange(4000) * np.timedelta64(1250, "us")
    recording = read(write(tmp_path / "x.tdms", ChannelObject("g", "when", dates), ChannelObject("g", "a", NOISE)))
    assert recording.channels == ("a",)
    assert recording.rate_hz == pytest.approx(800.0)
    assert recording.notes == ("when is a clock of 800 Hz, and left out",)


def test_a_rate_in_a_text_is_read_with_its_unit_and_one_that_cannot_be_is_noted(tmp_path: Path) -> None:
    channel = ChannelObject("g", "a", NOISE)
    assert read(write(tmp_path / "x.tdms", RootObject({"Sampling rate": "0.8 kHz"}), channel)).rate_hz == 800.0
    path = write(tmp_path / "y.tdms", RootObject({"Sampling rate": "fast", "interval": 2.0}), channel)
    with pytest.raises(DataError, match=r"Sampling rate = fast is not used.*interval = 2.0 is not used"):
        read(path)


def test_without_any_rate_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tdms", ChannelObject("g", "a", NOISE))
    with pytest.raises(DataError, match="give rate_hz="):
        read(path)
    assert read(path, rate_hz=500.0).rate_hz == 500.0


def test_the_step_of_a_spectrum_is_no_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tdms", waveform("a", 4.0, wf_xunit_string="Hz"))
    with pytest.raises(DataError, match="give rate_hz="):
        read(path)


def test_channels_of_other_rates_are_resampled_to_the_first_and_the_ecg_keeps_its_own(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.tdms",
        GroupObject("g"),
        waveform("acc", 1000.0, tone(1000.0)),
        waveform("belt", 250.0, tone(250.0)),
        waveform("ECG", 500.0, tone(500.0), group="heart"),
    )
    recording = read(path)
    assert (recording.rate_hz, recording.ecg_rate_hz, recording.lowest_rate_hz) == (1000.0, 500.0, 250.0)
    np.testing.assert_allclose(recording.signals[1, 200:-200], tone(1000.0)[200:-200], rtol=0, atol=0.02)
    assert recording.ecg is not None
    np.testing.assert_allclose(recording.ecg, tone(500.0), rtol=0, atol=1e-6)


def test_a_channel_is_named_with_its_group_only_if_groups_share_names(tmp_path: Path) -> None:
    groups = (GroupObject("seat"), GroupObject("belt"))
    path = write(tmp_path / "x.tdms", *groups, waveform("x", 100.0, group="seat"), waveform("y", 100.0, group="belt"))
    assert read(path).channels == ("x", "y")
    belt = waveform("x", 100.0, 2 * NOISE, group="belt")
    path = write(tmp_path / "x.tdms", *groups, waveform("x", 100.0, group="seat"), belt)
    assert read(path).channels == ("seat/x", "belt/x")
    np.testing.assert_array_equal(read(path, channels=("belt/x",)).signals[0], 2 * NOISE)


def test_text_times_and_empty_channels_are_no_signals_and_are_named(tmp_path: Path) -> None:
    times = np.datetime64("2024-01-01T00:00:00", "us") + np.arange(len(NOISE))
    path = write(
        tmp_path / "x.tdms",
        ChannelObject("log", "events", ["start", "stop"]),
        ChannelObject("log", "stamps", times),
        waveform("a", 100.0),
    )
    recording = read(path)
    assert recording.channels == ("a",)
    assert recording.notes == ("channels without numbers are left out: events, stamps",)
    path = write(tmp_path / "x.tdms", ChannelObject("log", "events", ["start", "stop"]))
    with pytest.raises(DataError, match="no channel holds numbers"):
        read(path)


def test_channels_of_different_durations_are_refused_until_those_of_one_are_named(tmp_path: Path) -> None:
    """They would be cut to the shortest."""
    path = write(tmp_path / "x.tdms", waveform("a", 100.0), waveform("short", 100.0, NOISE[:300]), waveform("b", 100.0))
    with pytest.raises(DataError, match=r"differ in duration \(a 40 s, short 3 s, b 40 s\); name those of one"):
        read(path)
    assert read(path, channels=("a", "b")).channels == ("a", "b")
    path = write(tmp_path / "x.tdms", ChannelObject("g", "a", NOISE), ChannelObject("g", "b", NOISE[:300]))
    with pytest.raises(DataError, match=r"\(a 4000 samples, b 300 samples\)"):
        read(path, rate_hz=100.0)


def test_channels_with_and_without_a_rate_are_refused_until_those_that_agree_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tdms", waveform("a", 100.0), ChannelObject("g", "b", NOISE))
    with pytest.raises(DataError, match="b states no rate, other channels do"):
        read(path)
    assert read(path, channels=("a",)).rate_hz == 100.0
    assert read(path, channels=("b",), rate_hz=50.0).rate_hz == 50.0


def test_an_ecg_without_a_rate_has_that_of_signals_of_its_length(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tdms", waveform("a", 100.0), ChannelObject("g", "ECG", NOISE))
    assert read(path).ecg_rate_hz == 100.0


def test_segments_that_were_added_later_are_read_as_one(tmp_path: Path) -> None:
    with TdmsWriter(tmp_path / "x.tdms") as file:
        for part in np.split(NOISE, 4):
            file.write_segment([waveform("a", 100.0, part)])
    np.testing.assert_array_equal(read(tmp_path / "x.tdms").signals[0], NOISE)


@pytest.mark.parametrize("n_lost", [1, 100, 2000, 2050, 2090])
def test_a_file_cut_off_anywhere_in_its_last_segment_is_refused_and_nothing_is_printed(
    n_lost: int, tmp_path: Path, capfd: Any
) -> None:
    """The library reads what is left and prints a warning."""
    with TdmsWriter(tmp_path / "x.tdms") as file:
        for part in (NOISE[:500], NOISE[500:1000]):
            file.write_segment([waveform("a", 100.0, part)])
    content = (tmp_path / "x.tdms").read_bytes()
    (tmp_path / "x.tdms").write_bytes(content[:-n_lost])
    for action in (read, variables):
        with pytest.raises(DataError, match="cut off"):
            action(tmp_path / "x.tdms")
    assert capfd.readouterr() == ("", "")


def test_a_segment_that_was_not_finished_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tdms", waveform("a", 100.0))
    content = bytearray(path.read_bytes())
    content[12:20] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(DataError, match="not finished; open and save it with LabVIEW"):
        read(path)


def test_an_index_file_of_another_recording_is_not_read(tmp_path: Path) -> None:
    """The library takes the metadata from an index that lies beside the file."""
    path = write(tmp_path / "x.tdms", waveform("a", 100.0))
    with TdmsWriter(str(tmp_path / "y.tdms"), index_file=True) as file:
        file.write_segment([waveform("other", 7.0)])
    (tmp_path / "y.tdms_index").rename(tmp_path / "x.tdms_index")
    with TdmsFile.open(path) as misled:
        assert [channel.name for channel in misled.groups()[0].channels()] == ["other"]
    recording = read(path)
    assert (recording.channels, recording.rate_hz) == (("a",), 100.0)


def test_the_library_prints_nothing_of_a_damaged_file(tmp_path: Path, capfd: Any) -> None:
    path = write(tmp_path / "x.tdms", waveform("abcd", 100.0))
    path.write_bytes(path.read_bytes().replace(b"abcd", b"ab\xff\x9b"))
    assert read(path).channels == ("ab\ufffd\ufffd",)
    assert capfd.readouterr() == ("", "")


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.tdms", waveform("a\x1b[2Jb", 100.0))).channels == (r"a\x1b[2Jb",)


def test_without_the_library_an_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.tdms", waveform("a", 100.0))
    monkeypatch.setitem(sys.modules, "nptdms", None)
    with pytest.raises(DataError, match=r"x\.tdms: .* need npTDMS; pip install 'drivebeat\[tdms\]'"):
        read(path)


def test_channels_that_begin_at_different_times_are_refused_until_those_of_one_are_named(tmp_path: Path) -> None:
    """By the start of their waveforms, which may be a sample apart."""
    start, late = np.datetime64("2024-02-03T09:00:00", "us"), np.timedelta64(2, "s")
    others: tuple[dict[str, Any], ...] = (
        {"wf_start_time": start + late},
        {"wf_start_time": start, "wf_start_offset": 2.0},
    )
    for other in others:
        path = write(
            tmp_path / "x.tdms", waveform("a", 100.0, wf_start_time=start), waveform("b", 100.0, NOISE[::-1], **other)
        )
        with pytest.raises(DataError, match=r"channels begin at different times \(a 0 s, b 2 s\); name those"):
            read(path)
        assert read(path, channels=("b",)).channels == ("b",)
    for time in (start + np.timedelta64(9, "ms"), np.datetime64("1904-01-01", "us")):
        path = write(
            tmp_path / "y.tdms",
            waveform("a", 100.0, wf_start_time=start),
            waveform("b", 100.0, NOISE[::-1], wf_start_time=time),
        )
        assert read(path).channels == ("a", "b")


def test_offsets_without_a_time_are_compared_too(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tdms", waveform("a", 100.0), waveform("b", 100.0, NOISE[::-1], wf_start_offset=1.5))
    with pytest.raises(DataError, match="channels begin at different times"):
        read(path)


def test_the_unit_of_a_channel_with_times_is_that_of_its_times(tmp_path: Path) -> None:
    clock = ChannelObject("g", "Time", np.arange(4000) * 1.25, {"unit_string": "ms"})
    assert read(write(tmp_path / "x.tdms", clock, ChannelObject("g", "a", NOISE))).rate_hz == 800.0


def test_a_channel_with_times_is_read_once_for_all_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nptdms import TdmsChannel

    path = write(
        tmp_path / "x.tdms",
        ChannelObject("g", "Time", np.arange(4000) / 800),
        *(ChannelObject("g", f"c{i}", NOISE) for i in range(8)),
    )
    loaded: list[str] = []
    load = TdmsChannel.__getitem__

    def counted(channel: Any, index: Any) -> Any:
        loaded.append(channel.name)
        return load(channel, index)

    monkeypatch.setattr(TdmsChannel, "__getitem__", counted)
    assert read(path).rate_hz == 800.0
    assert loaded.count("Time") == 1
