"""Bring recordings to the rate and the band of a config, after a check that they carry the band."""

from data.config import HEART_BAND_HZ, DataConfig
from data.errors import DataError
from data.filters import bandpass, resample
from data.recording import Recording, Signal, check_varying
from data.streaming import forward_bandpass


def condition(recording: Recording, config: DataConfig) -> Signal:
    """Resample a recording to the config's rate and band-pass it if the config has a band: float32[channel, time].

    Raises DataError for a recording whose own rate is too low for the band, for a channel of which all samples are
    equal, and as data.filters does.
    """
    check_carried(recording, config)
    return in_config_band(recording, config)


def check_carried(recording: Recording, config: DataConfig) -> None:
    """Raise DataError for a recording whose own rate is too low for the band, or with a channel of equal samples."""
    high_hz = band_of(config)[1]
    if recording.own_rate_hz < 2 * high_hz:
        raise DataError(
            f"{recording.source}: recorded at {recording.own_rate_hz:g} Hz; the band up to {high_hz:g} Hz needs at "
            f"least {2 * high_hz:g} Hz; leave it out, or correct rate_hz if the file does not state its rate"
        )
    check_varying(recording)


def in_config_band(recording: Recording, config: DataConfig) -> Signal:
    """Return the signals of `condition` of a recording that may carry a part of the band only. Raises DataError."""
    check_varying(recording)
    signals = resample(recording.signals, recording.rate_hz, config.rate_hz)
    if config.band_hz is None:
        return signals
    band = bandpass if config.band_phase == "zero" else forward_bandpass
    return band(signals, config.rate_hz, *config.band_hz)


def carried(recording: Recording, config: DataConfig, highest_hz: float | None) -> tuple[str, ...]:
    """Check that a recording carries the band, or its part up to `highest_hz`; return a note where it is a part only.

    highest_hz: see data.config.Source. Raises DataError for a rate that is too low for it.
    """
    low_hz, high_hz = band_of(config)
    own_hz = recording.own_rate_hz
    if own_hz >= 2 * high_hz:
        return ()
    if highest_hz is None or own_hz < 2 * min(highest_hz, high_hz):
        needs = f"the band up to {high_hz:g} Hz" if highest_hz is None else f"highest_hz = {highest_hz:g}"
        least_hz = 2 * high_hz if highest_hz is None else 2 * min(highest_hz, high_hz)
        fix = "set highest_hz in its source to the highest frequency it carries" if highest_hz is None else "lower it"
        raise DataError(
            f"{recording.source}: recorded at {own_hz:g} Hz; {needs} needs at least {least_hz:g} Hz; {fix}, "
            "or leave the recording out"
        )
    return (f"carries only {low_hz:g} to {highest_hz:g} Hz of the band {low_hz:g} to {high_hz:g} Hz",)


def band_of(config: DataConfig) -> tuple[float, float]:
    """Return the band of the config, or that of the heart if recordings are not filtered."""
    return config.band_hz or HEART_BAND_HZ
