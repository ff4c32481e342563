"""Sound files: all samples that are in the file, nothing else, at the precision of the file."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.read import read, variables
from data.readers.sound import SUFFIXES

RATE_HZ = 4000
LIST = b"LIST\x0c\x00\x00\x00INFOICMTok\x00\x00"
ID3 = b"id3 \x05\x00\x00\x00hello\x00"
FORMATS = {"i2": 1, "i4": 1, "u1": 1, "f4": 3, "f8": 3}  # of WAV files, by the type of the samples


def noise(n_samples: int = 3001, n_channels: int = 1, dtype: str = "i2") -> NDArray[Any]:
    """[time, channel] over the range of the type, without text that could be the name of a chunk."""
    rng = np.random.default_rng(n_channels)
    if dtype[0] == "f":
        return rng.uniform(-0.9, 0.9, (n_samples, n_channels)).astype(f"<{dtype}")
    limits = np.iinfo(dtype)
    return rng.integers(limits.min // 2, limits.max, (n_samples, n_channels)).astype(f"<{dtype}")


def scaled(samples: NDArray[np.generic]) -> NDArray[np.float64]:
    """What is to be read, [channel, time]."""
    values = samples.T.astype(np.float64)
    if samples.dtype.kind == "u":
        return (values - 128) / 128
    return values / 2.0 ** (8 * samples.dtype.itemsize - 1) if samples.dtype.kind == "i" else values


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def write_wav(
    path: Path, samples: NDArray[np.generic], stated: int | None = None, after: bytes = b"", *, extensible: bool = False
) -> Path:
    """Write a WAV file by hand. stated: bytes of samples in its header; after: bytes that follow the samples."""
    content = samples.tobytes()
    n_bytes = len(content) if stated is None else stated
    n_channels, width = samples.shape[1], samples.dtype.itemsize
    tag = FORMATS[samples.dtype.str[1:]]
    layout = struct.pack(
        "<HHIIHH",
        0xFFFE if extensible else tag,
        n_channels,
        RATE_HZ,
        RATE_HZ * n_channels * width,
        n_channels * width,
        8 * width,
    )
    if extensible:
        guid = struct.pack("<IHH", tag, 0, 16) + bytes.fromhex("800000aa00389b71")
        layout += struct.pack("<HHI", 22, 8 * width, 0) + guid
    body = b"WAVE" + chunk(b"fmt ", layout) + b"data" + struct.pack("<I", n_bytes)
    riff = len(body) + len(content) + len(after) if stated is None else min(len(body) + stated, 2**32 - 1)
    path.write_bytes(b"RIFF" + struct.pack("<I", riff) + body + content + after)
    return path


SIZES_OF_STREAMS = [0, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36]


@pytest.mark.parametrize("stated", [*SIZES_OF_STREAMS, 2000])
@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("dtype", FORMATS)
def test_all_samples_are_read_if_the_header_counts_too_few_or_none(
    dtype: str, n_channels: int, stated: int, tmp_path: Path
) -> None:
    samples = noise(n_channels=n_channels, dtype=dtype)
    path = write_wav(tmp_path / "x.wav", samples, stated)
    recording = read(path)
    np.testing.assert_allclose(recording.signals, scaled(samples), rtol=0, atol=1e-7)
    n_stated = stated // (n_channels * samples.dtype.itemsize)
    assert recording.notes == (f"the header states {n_stated} samples, 3001 are in the file: all are read",)
    assert [v.shape for v in variables(path)] == [(3001,)] * n_channels


@pytest.mark.parametrize("stated", [0, 600, 0xFFFFFFFF])
def test_an_extensible_header_that_counts_too_few_is_mended_too(stated: int, tmp_path: Path) -> None:
    samples = noise(n_channels=6)
    recording = read(write_wav(tmp_path / "x.wav", samples, stated, extensible=True))
    np.testing.assert_allclose(recording.signals, scaled(samples), rtol=0, atol=1e-7)


@pytest.mark.parametrize("stated", [0, 600, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("suffix", [".rf64", ".wav"])
def test_an_rf64_header_that_counts_too_few_or_none_is_mended_too(suffix: str, stated: int, tmp_path: Path) -> None:
    samples = noise(n_channels=2)
    path = tmp_path / f"x{suffix}"
    soundfile.write(path, samples, RATE_HZ, "PCM_16", format="RF64")
    np.testing.assert_allclose(read(path).signals, scaled(samples), rtol=0, atol=1e-7)
    assert read(path).notes == ()
    content = bytearray(path.read_bytes())
    at = content.index(b"ds64") + 8
    struct.pack_into("<2Q", content, at, stated, stated)
    path.write_bytes(content)
    recording = read(path)
    np.testing.assert_allclose(recording.signals, scaled(samples), rtol=0, atol=1e-7)
    assert "3001 are in the file" in recording.notes[0]


def test_a_streamed_file_that_ends_within_a_sample_is_read_up_to_it(tmp_path: Path) -> None:
    samples = noise(n_channels=3)
    recording = read(write_wav(tmp_path / "x.wav", samples, 0xFFFFFFFF, after=b"\x81\x82\x83\x84\x85"))
    np.testing.assert_allclose(recording.signals, scaled(samples), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "after",
    [
        LIST,
        ID3,
        LIST + ID3,
        LIST + b"\0" * 500,
        chunk(b"ours", b"\x81" * 400),
        chunk(b"ours", b"\x81" * 401) + LIST,
        chunk(b"ours", b"\x81" * 400) + b"\0" * 90,
        chunk(b"ours", b"\x81" * 400) + b"\x81\x82\x83",
        b"TAG" + b"\x81" * 125,
        b"\0" * 512,
    ],
)
@pytest.mark.parametrize(("n_samples", "dtype"), [(3000, "i2"), (3001, "u1"), (3001, "i4")])
def test_chunks_tags_and_zeros_after_the_samples_are_not_read_as_samples(
    dtype: str, n_samples: int, after: bytes, tmp_path: Path
) -> None:
    samples = noise(n_samples, 2 if dtype == "i4" else 1, dtype)
    n_bytes = samples.nbytes
    for pad in {b"\0" * (n_bytes % 2), b""}:
        recording = read(write_wav(tmp_path / "x.wav", samples, n_bytes, after=pad + after))
        assert recording.signals.shape[1] == n_samples
        np.testing.assert_allclose(recording.signals, scaled(samples), rtol=0, atol=1e-7)
        assert recording.notes == ()


@pytest.mark.parametrize("dtype", FORMATS)
def test_values_and_rate_are_those_of_scipy(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    scipy.io.wavfile.write(path, 1234, noise(n_channels=2, dtype=dtype))
    rate_hz, samples = scipy.io.wavfile.read(path)
    recording = read(path)
    assert recording.rate_hz == rate_hz == 1234
    np.testing.assert_allclose(recording.signals, scaled(samples), rtol=0, atol=1e-7)


@pytest.mark.parametrize("n_lost", [1, 2, 3, 400])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_file_shorter_than_its_header_states_is_refused(n_channels: int, n_lost: int, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", noise(n_channels=n_channels))
    path.write_bytes(path.read_bytes()[:-n_lost])
    with pytest.raises(DataError, match=r"x\.wav: cut off: .* copy the file again"):
        read(path)
    with pytest.raises(DataError, match="cut off"):
        variables(path)


def test_a_missing_byte_of_padding_does_no_harm(tmp_path: Path) -> None:
    samples = noise(3001, dtype="u1")
    content = write_wav(tmp_path / "x.wav", samples).read_bytes()
    (tmp_path / "x.wav").write_bytes(content[:4] + struct.pack("<I", len(content) - 7) + content[8:])
    np.testing.assert_allclose(read(tmp_path / "x.wav").signals, scaled(samples), rtol=0, atol=1e-7)


@pytest.mark.parametrize("subtype", ["DOUBLE", "PCM_32"])
def test_a_large_mean_does_not_cost_the_precision_of_64_and_32_bits(subtype: str, tmp_path: Path) -> None:
    """In float32, 0.5 + 1e-8 is 0.5."""
    small = np.random.default_rng(0).uniform(-1e-6, 1e-6, 2000)
    soundfile.write(tmp_path / "x.wav", 0.5 + small, RATE_HZ, subtype)
    recording = read(tmp_path / "x.wav")
    np.testing.assert_allclose(recording.signals[0], small - small.mean(), rtol=0, atol=1e-9)
    assert any("its mean of 0.5 is removed" in note for note in recording.notes)


SUBTYPES = {".flac": "PCM_16", ".caf": "FLOAT", ".au": "FLOAT", ".aiff": "PCM_24", ".aif": "PCM_16", ".w64": "DOUBLE"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_sound_format_has_the_values_that_libsndfile_wrote(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    values = np.sin(np.arange(8000)[:, None] * [0.02, 0.03]) / 2
    kind = "AIFF" if suffix == ".aif" else None
    soundfile.write(path, values, 8000, SUBTYPES.get(suffix), format=kind)
    recording = read(path)
    np.testing.assert_allclose(recording.signals, values.T, rtol=0, atol=0.03 if suffix == ".ogg" else 2**-15)
    assert (recording.rate_hz, recording.channels) == (8000.0, ("ch1", "ch2"))
    assert {v.shape for v in variables(path)} == {(8000,)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_sound_format_that_is_cut_off_is_refused(suffix: str, tmp_path: Path) -> None:
    """libsndfile reads what is left of most of them."""
    path = tmp_path / f"x{suffix}"
    kind = "AIFF" if suffix == ".aif" else None
    values = np.random.default_rng(0).uniform(-0.9, 0.9, (20000, 2))
    soundfile.write(path, values, 8000, SUBTYPES.get(suffix), format=kind)
    content = path.read_bytes()
    for n_bytes in (5, 30, 100, len(content) // 2, len(content) - 3000, len(content) - 5):
        path.write_bytes(content[:n_bytes])
        with pytest.raises(DataError, match=rf"x\{suffix}: ") as got:
            read(path)
        assert "\n" not in str(got.value)


def test_a_flac_file_that_does_not_count_its_samples_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(), RATE_HZ, "PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of the count
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(DataError, match="does not state the number of samples; write it anew: flac -d"):
        read(path)
    assert variables(path)[0].shape == ()


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
def test_compressed_wav_files_are_left_to_libsndfile(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.sin(np.arange(8000) / 20) / 2, 8000, subtype)
    expected, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
    np.testing.assert_array_equal(read(tmp_path / "x.wav").signals[0], expected)


def test_a_name_that_is_no_utf_8_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x\udcff.wav"
    write_wav(path, noise())
    assert read(path).signals.shape == (1, 3001)
    write_wav(path, noise(), 0xFFFFFFFF)
    assert read(path).signals.shape == (1, 3001)
