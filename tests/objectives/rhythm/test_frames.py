"""Evidence from envelopes and posteriors, and training targets from R peaks and from the sound alone."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt

from data import ecg
from data.readers.read import read
from objectives.heart import match_events
from objectives.rhythm.decode import decode
from objectives.rhythm.frames import envelope_evidence, posterior_evidence, targets

Floats = NDArray[np.float64]
RATE_HZ, FRAME_HZ = 250.0, 125.0
BAND = butter(4, (25, 55), "bandpass", fs=RATE_HZ, output="sos")


def heart(s1_s: Floats, s2_s: Floats, duration_s: float, noise: float = 0.02, seed: int = 0) -> Floats:
    """Bursts of 38 and 45 Hz with an SD of 25 ms, in Gaussian noise of the band."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    rough = sosfiltfilt(BAND, np.random.default_rng(seed).normal(size=time_s.size))
    signal: Floats = noise * rough / rough.std()
    for times_s, height, tone_hz in ((s1_s, 1.0, 38.0), (s2_s, 0.7, 45.0)):
        for at_s in times_s:
            since_s = time_s - at_s
            signal += height * np.exp(-0.5 * (since_s / 0.025) ** 2) * np.cos(2 * np.pi * tone_hz * since_s)
    return signal


def beats(duration_s: float, bpm: float = 72.0) -> tuple[Floats, Floats]:
    s1_s = np.arange(0.4, duration_s, 60 / bpm)
    return s1_s, s1_s + 0.441 - 0.0022 * bpm


def test_the_evidence_is_high_in_sounds_and_low_between_and_alike_for_both() -> None:
    s1_s, s2_s = beats(20.0)
    found = envelope_evidence(heart(s1_s, s2_s, 20.0), RATE_HZ, FRAME_HZ)
    assert found.shape == (2500, 3)
    assert (found[:, 0] == found[:, 1]).all()
    assert (found[:, 2] == 0).all()
    sounds = np.round(np.concatenate([s1_s, s2_s[:-1]]) * FRAME_HZ).astype(int)
    between = np.round((s2_s[:-1] + 0.2) * FRAME_HZ).astype(int)
    assert found[sounds, 0].min() > 0.5
    assert found[between, 0].max() < -0.5


def test_the_evidence_depends_neither_on_scale_nor_on_polarity() -> None:
    signal = heart(*beats(15.0), 15.0)
    expected = envelope_evidence(signal, RATE_HZ, FRAME_HZ)
    np.testing.assert_allclose(envelope_evidence(-1e-6 * signal, RATE_HZ, FRAME_HZ), expected, atol=1e-6)


@pytest.mark.parametrize("duration_s", [0.1, 3.0, 25.0])
def test_silence_has_no_evidence(duration_s: float) -> None:
    found = envelope_evidence(np.zeros(round(duration_s * RATE_HZ)), RATE_HZ, FRAME_HZ)
    assert found.shape[0] >= 1
    assert not found.any()


def test_noise_says_less_than_a_heart() -> None:
    """The spread of the evidence of noise is a part of that of sounds: the model is fitted to what is there."""
    none = np.empty(0)
    noise = envelope_evidence(heart(none, none, 40.0, noise=1.0), RATE_HZ, FRAME_HZ)[:, 0]
    sounds = envelope_evidence(heart(*beats(40.0), 40.0), RATE_HZ, FRAME_HZ)[:, 0]
    assert noise.std() < 0.5 * sounds.std()


@pytest.mark.parametrize("snr_db", [10.0, 0.0])
def test_beats_are_decoded_from_the_envelope(snr_db: float) -> None:
    s1_s, s2_s = beats(40.0)
    clean = heart(s1_s, s2_s, 40.0, noise=0.0)
    noisy = heart(s1_s, s2_s, 40.0, noise=float(clean.std()) * 10 ** (-snr_db / 20), seed=2)
    found = decode(envelope_evidence(noisy, RATE_HZ, FRAME_HZ), FRAME_HZ)
    n_right, n_extra, n_missed = match_events(s1_s, found.s1_s, 0.06)
    assert n_extra + n_missed <= (0 if snr_db > 5 else 4)
    assert n_right >= s1_s.size - 2
    assert all(span.probability > 0.9 and abs(span.rate_bpm - 72) < 5 for span in found.spans)


def test_likelihoods_are_posteriors_over_the_shares_of_training() -> None:
    found = posterior_evidence(np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]), np.array([0.1, 0.1, 0.8]))
    np.testing.assert_allclose(found[0], np.log([2, 3, 0.625]))
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("p", "shares", "message"),
    [
        (np.zeros((2, 2)), np.full(3, 0.3), "shape"),
        (np.full((2, 3), 1.2), np.full(3, 0.3), "outside"),
        (np.full((2, 3), 0.3), np.array([0.0, 0.5, 0.5]), "shares are"),
    ],
)
def test_posteriors_that_are_none_are_refused(p: Floats, shares: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        posterior_evidence(p, shares)


def known(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    assert (np.isfinite(rows).all(axis=1) | np.isnan(rows).all(axis=1)).all()
    return np.asarray(np.isfinite(rows).all(axis=1))


@pytest.mark.parametrize("with_ecg", [True, False])
def test_targets_are_bells_at_the_sounds(with_ecg: bool) -> None:
    s1_s, s2_s = beats(20.0)
    rows = targets(heart(s1_s, s2_s, 20.0), RATE_HZ, FRAME_HZ, s1_s - 0.055 if with_ecg else None)
    assert rows.dtype == np.float32
    inside = known(rows)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(rows[inside].sum(axis=1), 1, atol=1e-6)
    time_s = np.arange(len(rows)) / FRAME_HZ
    for column, times_s in ((0, s1_s), (1, s2_s)):
        nearest_s = np.abs(time_s[:, None] - times_s[None, :]).min(axis=1)
        bell = np.where(nearest_s <= 0.052, np.exp(-0.5 * (nearest_s / 0.026) ** 2), 0)
        assert np.abs(rows[inside, column] - bell[inside]).mean() < 0.01
        assert np.abs(rows[inside, column] - bell[inside]).max() < 0.35


def test_targets_are_unknown_where_the_signal_does_not_tell() -> None:
    """Noise after half of the recording: no labels there, without R peaks; nothing outside the R peaks with them."""
    s1_s, s2_s = beats(20.0)
    none = np.empty(0)
    signal = np.concatenate([heart(s1_s, s2_s, 20.0), heart(none, none, 20.0, noise=0.3)])
    by_sound = known(targets(signal, RATE_HZ, FRAME_HZ))
    assert by_sound[: 18 * 125].mean() > 0.9
    assert by_sound[23 * 125 :].mean() < 0.1
    by_ecg = known(targets(signal, RATE_HZ, FRAME_HZ, s1_s[5:10] - 0.055))
    assert not by_ecg[: int((s1_s[5] - 0.06) * FRAME_HZ)].any()
    assert not by_ecg[int(s1_s[9] * FRAME_HZ) + 1 :].any()


def test_a_sound_that_is_not_heard_is_unknown_and_no_label() -> None:
    s1_s, s2_s = beats(20.0)
    rows = targets(heart(s1_s, np.delete(s2_s, 8), 20.0), RATE_HZ, FRAME_HZ, s1_s - 0.055)
    at = round(s2_s[8] * FRAME_HZ)
    assert np.isnan(rows[at]).all()
    assert known(rows)[round((s2_s[8] + 0.25) * FRAME_HZ)]


@pytest.mark.parametrize("r_peaks_s", [np.array([1.0, 0.5]), np.array([np.nan]), np.zeros((2, 2))])
def test_r_peaks_that_are_none_are_refused(r_peaks_s: Floats) -> None:
    with pytest.raises(ValueError, match="r_peaks_s has shape"):
        targets(heart(*beats(3.0), 3.0), RATE_HZ, FRAME_HZ, r_peaks_s)


def test_a_signal_of_more_than_one_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="signal has shape"):
        envelope_evidence(np.zeros((2, 1000)), RATE_HZ, FRAME_HZ)


def real(realdata: Path) -> list[tuple[Floats, Floats]]:
    """Return the signal in the band and the R peaks of the recordings that have both."""
    found = []
    for path in sorted((realdata / "heart_ecg").rglob("*")):
        beside = path.with_name(path.name.replace("_PCG", "_ECG"))
        if path.suffix in (".npz", ".wav") and "_ECG" not in path.name:
            recording = read(path, ecg=beside if beside != path else None)
            peaks_s = ecg.beats(recording)
            assert peaks_s is not None
            down = round(recording.rate_hz / RATE_HZ)
            signal = resample_poly(recording.signals[0].astype(np.float64), 1, down)
            found.append((np.asarray(sosfiltfilt(BAND, signal)), peaks_s))
    return found


def test_labels_by_sound_agree_with_those_by_ecg_in_real_recordings(realdata: Path) -> None:
    """Where both are known, nearly all frames have one class; and the sound alone labels most of the time."""
    agreeing, shares = [], []
    for signal, peaks_s in real(realdata):
        by_ecg, by_sound = targets(signal, RATE_HZ, FRAME_HZ, peaks_s), targets(signal, RATE_HZ, FRAME_HZ)
        both = known(by_ecg) & known(by_sound)
        agreeing.append(float((by_ecg.argmax(axis=1) == by_sound.argmax(axis=1))[both].mean()))
        shares.append(float(known(by_sound).mean()))
    assert len(agreeing) >= 9
    assert min(agreeing) > 0.97
    assert float(np.mean(shares)) > 0.8
