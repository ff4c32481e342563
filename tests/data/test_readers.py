"""What holds for every reader, over every file layout; `layout` runs through all of them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.cache import parts_of
from data.errors import DataError
from data.readers.contents import numbered
from data.readers.read import READERS, read, variables


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def message(path: Path, **options: Any) -> str:
    """The one line that reading `path` fails with."""
    with pytest.raises(DataError) as raised:
        read(path, **options)
    text = str(raised.value)
    assert "\n" not in text
    assert str(path.parent) in text
    return text


def test_values_are_those_written_in_the_file_s_rate_and_channels(layout: Any, tmp_path: Path) -> None:
    path = layout.make(tmp_path)
    recording = read(path, **layout.options)
    np.testing.assert_allclose(recording.signals, layout.signals(), rtol=0, atol=layout.step)
    assert recording.rate_hz == layout.rate_hz
    assert recording.channels == layout.channels
    assert recording.source == path


def test_signals_are_read_only_contiguous_float32(layout: Any, tmp_path: Path) -> None:
    recording = read(layout.make(tmp_path), **layout.options)
    assert recording.signals.dtype == np.float32
    assert recording.signals.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        recording.signals[0, 0] = 0.0
    if recording.ecg is not None:
        assert recording.ecg.dtype == np.float32
        assert not recording.ecg.flags.writeable


def test_a_channel_named_ecg_is_attached_and_is_no_signal(layout: Any, tmp_path: Path) -> None:
    recording = read(layout.make(tmp_path), **layout.options)
    assert (recording.ecg is not None) == layout.has_ecg
    assert "ECG" not in recording.channels
    if layout.has_ecg:
        assert recording.ecg is not None
        np.testing.assert_allclose(recording.ecg, layout.ecg(), rtol=0, atol=layout.step)
        assert recording.ecg_rate_hz == layout.rate_hz


def test_channels_are_kept_as_named_in_the_order_named(layout: Any, tmp_path: Path) -> None:
    wanted = layout.channels[::-1][:2]
    recording = read(layout.make(tmp_path), **layout.options, channels=wanted)
    assert recording.channels == wanted
    expected = layout.signals()[[layout.channels.index(name) for name in wanted]]
    np.testing.assert_allclose(recording.signals, expected, rtol=0, atol=layout.step)
    assert (recording.ecg is not None) == layout.has_ecg


def test_an_unknown_channel_is_refused_and_the_known_ones_are_named(layout: Any, tmp_path: Path) -> None:
    text = message(layout.make(tmp_path), **layout.options, channels=("ch9q",))
    assert "ch9q" in text
    assert all(name in text for name in layout.channels)


def test_reading_and_listing_write_nothing(layout: Any, tmp_path: Path) -> None:
    path = layout.make(tmp_path)
    before = digest(tmp_path)
    read(path, **layout.options)
    variables(path)
    assert digest(tmp_path) == before


def test_a_gap_is_cut_out_filled_or_refused_as_asked(layout: Any, tmp_path: Path) -> None:
    """The default cuts, and says so."""
    if not layout.holds_nan:
        pytest.skip("integers hold no NaN")
    signals = layout.signals()
    signals[-1, 1234:1237] = np.nan
    path = layout.make(tmp_path, signals)
    cut, filled = read(path, **layout.options), read(path, **layout.options, gaps="fill")
    np.testing.assert_allclose(
        cut.signals, np.delete(layout.signals(), [1234, 1235, 1236], axis=1), rtol=0, atol=layout.step
    )
    assert filled.signals.shape == signals.shape
    around = layout.signals()[-1, [1233, 1237]]
    np.testing.assert_allclose(filled.signals[-1, 1235], around.mean(), rtol=0, atol=2 * layout.step + 1e-6)
    for got, word in ((cut, "cut out"), (filled, "filled")):
        assert any("1 gap of" in note and word in note for note in got.notes)
    text = message(path, **layout.options, gaps="refuse")
    assert "NaN" in text and "1234" in text and layout.channels[-1] in text
    assert "gaps='mend'" in message(path, **layout.options, gaps="mend")


def test_more_gaps_than_a_tenth_are_refused_by_channel(layout: Any, tmp_path: Path) -> None:
    if not layout.holds_nan:
        pytest.skip("integers hold no NaN")
    signals = layout.signals()
    signals[0, 1234:2000] = np.nan
    text = message(layout.make(tmp_path, signals), **layout.options)
    assert "766 of 4096" in text and "1234" in text and layout.channels[0] in text


def test_gaps_of_the_ecg_are_filled_or_refused(layout: Any, tmp_path: Path) -> None:
    if not (layout.has_ecg and layout.holds_nan):
        pytest.skip("no ECG, or integers hold no NaN")
    ecg = layout.ecg()
    ecg[7] = np.nan
    path = layout.make(tmp_path, ecg=ecg)
    got = read(path, **layout.options)
    assert got.ecg is not None
    np.testing.assert_allclose(got.ecg[7], layout.ecg()[[6, 8]].mean(), rtol=0, atol=2 * layout.step + 1e-6)
    assert "ECG" in message(path, **layout.options, gaps="refuse")


def test_a_constant_channel_is_read_but_refused_where_it_was_asked_for(layout: Any, tmp_path: Path) -> None:
    signals = layout.signals()
    signals[-1] = 0.25
    path = layout.make(tmp_path, signals)
    assert read(path, **layout.options).channels == layout.channels
    text = message(path, **layout.options, channels=layout.channels[-1:])
    assert "constant" in text and layout.channels[-1] in text


def test_a_constant_channel_that_nobody_asked_for_does_no_harm(layout: Any, tmp_path: Path) -> None:
    if len(layout.channels) < 2:
        pytest.skip("one channel")
    signals = layout.signals()
    signals[-1] = 0.25
    recording = read(layout.make(tmp_path, signals), **layout.options, channels=layout.channels[:1])
    assert recording.channels == layout.channels[:1]


def test_an_unplugged_ecg_lead_is_left_out(layout: Any, tmp_path: Path) -> None:
    """A flat ECG is no ECG; the signals beside it are still good."""
    path = layout.make(tmp_path, ecg=np.zeros(4096))
    assert read(path, **layout.options).ecg is None


def test_every_cut_off_file_is_refused_in_one_line(layout: Any, tmp_path: Path) -> None:
    """A text table may end anywhere between rows and still be one; all other files say how long they are."""
    path = layout.make(tmp_path)
    broken = path.with_suffix(".dat") if layout.suffix == ".hea" else path
    whole = broken.read_bytes()
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.99):
        broken.write_bytes(whole[: int(len(whole) * share)])
        if layout.suffix in (".csv", ".tsv", ".txt") and share > 0.001:
            continue
        message(path, **layout.options)


def test_a_file_of_another_kind_is_refused_in_one_line(layout: Any, tmp_path: Path) -> None:
    path = layout.make(tmp_path)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    message(path, **layout.options)


def test_a_rate_that_the_file_contradicts_is_refused(layout: Any, tmp_path: Path) -> None:
    """Layouts that only presume 1000 Hz, and files that say nothing, believe the caller."""
    path = layout.make(tmp_path)
    options = layout.options | {"rate_hz": 1.5 * layout.rate_hz}
    if layout.name.startswith(("240517", "240826")) or "rate_hz" in layout.options:
        assert read(path, **options).rate_hz == 1.5 * layout.rate_hz
    else:
        text = message(path, **options)
        assert f"{layout.rate_hz:g}" in text and "rate_hz" in text


def test_a_rate_within_a_tenth_of_a_percent_is_taken(layout: Any, tmp_path: Path) -> None:
    options = layout.options | {"rate_hz": 1.0005 * layout.rate_hz}
    assert read(layout.make(tmp_path), **options).rate_hz == 1.0005 * layout.rate_hz


def test_listing_names_what_can_be_chosen(layout: Any, tmp_path: Path) -> None:
    path = layout.make(tmp_path)
    names = {v.name for v in variables(path)}
    if READERS[layout.suffix].named:
        for name in names:
            assert "rate" not in str(name) or layout.suffix == ".npz"
        assert names & {"data", "HS_data", "Noise_data", "acc", "signals", "hs", "drive/acc"}
    else:
        assert set(layout.channels) <= names


def test_a_wrong_variable_is_refused_and_those_that_exist_are_named(layout: Any, tmp_path: Path) -> None:
    path = layout.make(tmp_path)
    text = message(path, **layout.options | {"variable": "HS_dta"})
    if READERS[layout.suffix].named:
        assert "HS_dta" in text
        assert all(v.name in text for v in variables(path))
    else:
        assert "no variables" in text


def test_a_missing_file_a_folder_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    for suffix in READERS:
        assert "no such file" in message(tmp_path / f"gone{suffix}")
        with pytest.raises(DataError, match="no such file"):
            variables(tmp_path / f"gone{suffix}")
    (tmp_path / "folder.mat").mkdir()
    assert "folder" in message(tmp_path / "folder.mat")
    (tmp_path / "sound.mp3").write_bytes(b"ID3")
    text = message(tmp_path / "sound.mp3")
    assert all(suffix in text for suffix in READERS)


@pytest.mark.parametrize("name", ["a", "a.b", "n05.001"])
def test_a_wfdb_record_is_read_by_its_name_alone(name: str, tmp_path: Path) -> None:
    """As WFDB names it, without a suffix; the name may have a dot in it."""
    values = np.arange(200, dtype="<i2")
    (tmp_path / f"{name}.hea").write_text("r 1 100 200\nsignals.dat 16 100/mV 16 0 0 0 0 z\n")
    values.tofile(tmp_path / "signals.dat")
    recording = read(tmp_path / name)
    np.testing.assert_allclose(recording.signals[0], values / 100, rtol=1e-6)
    assert recording.source == tmp_path / f"{name}.hea"
    assert variables(tmp_path / name) == variables(tmp_path / f"{name}.hea")
    assert set(parts_of(tmp_path / name)) == {tmp_path / f"{name}.hea", tmp_path / "signals.dat"}


def test_a_file_that_is_no_wfdb_record_has_itself_as_its_only_part(tmp_path: Path) -> None:
    """A .dat file without a header is a text table."""
    (tmp_path / "x.dat").write_text("1 2\n3 4\n5 6\n")
    assert parts_of(tmp_path / "x.dat") == (tmp_path / "x.dat",)


def test_a_record_s_name_without_a_header_is_refused_as_a_file_without_a_suffix(tmp_path: Path) -> None:
    assert "has no suffix" in message(tmp_path / "a")


@pytest.mark.parametrize("rate_hz", [0.0, -1000.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate_hz: float) -> None:
    np.savez(tmp_path / "x.npz", hs=np.arange(100.0))
    assert "rate_hz" in message(tmp_path / "x.npz", rate_hz=rate_hz)


def test_an_ecg_in_the_file_of_another_duration_than_the_signals_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(20_000)
    held: dict[str, Any] = {"signals": noise[None, :2000], "rate_hz": 1000.0, "channels": ["z"], "ecg": noise}
    np.savez(tmp_path / "x.npz", **held, ecg_rate_hz=1000.0)
    assert "its ECG lasts 20.0 s, its signals 2.0 s; correct the rate" in message(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **{**held, "ecg": noise[:401]}, ecg_rate_hz=200.0)  # a sample more, as recorders have
    assert read(tmp_path / "x.npz").ecg_rate_hz == 200.0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "b"), ("a", "b")),
        (("a", "a", "b", "a"), ("a", "a #2", "b", "a #3")),
        (("a", "a", "a #2", "a"), ("a", "a #3", "a #2", "a #4")),
        ((), ()),
    ],
)
def test_names_that_repeat_are_numbered_and_stay_apart(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert numbered(names) == expected


def test_a_rate_that_a_column_of_times_contradicts_is_refused_with_the_column(tmp_path: Path) -> None:
    """A column without a clock's name may be a signal that happens to rise."""
    noise = np.random.default_rng(0).standard_normal(400)
    rows = "".join(f"{i / 100},{value}\n" for i, value in enumerate(noise))
    (tmp_path / "x.csv").write_text(f"t,seat\n{rows}")
    text = message(tmp_path / "x.csv", rate_hz=500.0)
    assert text.endswith("rate_hz=500, but column 't' holds times of 100 Hz; leave rate_hz out")
    (tmp_path / "x.csv").write_text(f"ramp,seat\n{rows}")
    text = message(tmp_path / "x.csv", rate_hz=500.0)
    assert "column 'ramp'" in text and "channels=" in text
    assert read(tmp_path / "x.csv", rate_hz=500.0, channels=("seat", "ramp")).channels == ("seat", "ramp")
