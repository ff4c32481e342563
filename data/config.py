"""The config section `data` of a run: its recordings, and how they are cut, split, mixed and varied.

DataConfig is the section itself; Source, GroupTable, SplitConfig, HeldOutConfig and AugmentConfig are its parts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from optuna.distributions import FloatDistribution

from data.recording import Gaps

Use = Literal["split", "train", "validation", "test"]
Randomiser = Literal["none", "sample_shuffle", "phase_shuffle", "half_phase_shuffle", "phase_random"]
Per = Literal["window", "epoch"]
Pairing = Literal["random", "index"]
Level = Literal["unit", "raw"]
BandPhase = Literal["zero", "minimum"]

# In the metadata of a field that was added to a config after its first version; see training.decode.encode.
ADDED = "added"

HEART_BAND_HZ = (25.0, 55.0)
# Signals in that band are measured, and beats found in them, at this rate; beats are placed between samples.
MEASURED_HZ = 250.0
# Scores of the heart's band and of its envelope need at least this.
MIN_RATE_HZ = 200.0
# A recording that carries less of the band than this above its lower edge has one hump of a heart sound, or none.
LEAST_OF_BAND_HZ = 10.0
MIN_WINDOW_SAMPLES = 16
# Largest allowed values of AugmentConfig, which are wider than the ranges that a search samples.
MAX_AUGMENT: Mapping[str, float] = MappingProxyType(
    {
        "clean_tilt_db_per_octave": 24.0,
        "noise_tilt_db_per_octave": 24.0,
        "reference_tilt_db_per_octave": 24.0,
        "clean_resonance_db": 40.0,
        "noise_resonance_db": 40.0,
        "tempo": 0.5,
        "polarity": 1.0,
        "noise_flat": 1.0,
        "noise_mix": 1.0,
        "noise_swell_db": 20.0,
        "noise_flutter_db": 20.0,
        "engine_lines_db": 40.0,
        "bumps_per_minute": 120.0,
        "reference_dropout": 1.0,
        "reference_foreign": 1.0,
        "reference_heart": 1.0,
        "band_again": 1.0,
    }
)


@dataclass(frozen=True, slots=True)
class EcgRule:
    """How to find a recording's ECG in a separate file: replace the text `replace` in the file's name by `by`."""

    replace: str
    by: str

    def __post_init__(self) -> None:
        if not self.replace or self.replace == self.by:
            raise ValueError(f"replace is {self.replace!r} and by {self.by!r}; two different texts are needed")


@dataclass(frozen=True, slots=True)
class GroupTable:
    """A CSV or TSV file, with a row for each recording, that names the person or car.

    manifest: the file; a relative path starts from `DataConfig.base`.
    column: its column with the groups: names of persons or cars.
    file: its column with the recordings: their paths, or the ends of their paths.
    """

    manifest: str
    column: str
    file: str = "file"

    def __post_init__(self) -> None:
        for name in ("manifest", "column", "file"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; a name is needed")
        if self.column == self.file:
            raise ValueError(f"column and file are both {self.column!r}; two different columns are needed")


@dataclass(frozen=True, slots=True)
class Source:
    """Recordings that are read in the same way.

    files: paths or globs; relative ones start from `DataConfig.base`.
    channels: names of the channels: the one to denoise, then its reference channels. Empty takes those of `variables`,
        else the first channel of each file.
    variable, variables, rate_hz, layout, gaps: passed to the reader, see data.readers.read.
    ecg: how to find the ECG, if it is in a separate file.
    use: "split" divides the recordings among the splits; "train", "validation" or "test" puts all into one split.
    weight: relative frequency at which training draws windows of these recordings, per second of recording. With 5, one
        hour of real recordings counts as much as five hours of generated ones. Validation and test do not use it.
    group: how to find the person or car of a recording, whose recordings must not be divided among splits. A text is a
        pattern for a folder or a part of the file's name ("s*"), a table names a file that lists them; see data.groups.
    highest_hz: the highest frequency with content, for recordings whose rate carries only a part of the band. They are
        taken from twice this rate on; without it a recording must carry the whole band.

    Raises ValueError for a value that is not allowed.
    """

    files: tuple[str, ...]
    channels: tuple[str, ...] = ()
    variable: str | None = None
    rate_hz: float | None = None
    layout: str = "auto"
    ecg: EcgRule | None = None
    use: Use = "split"
    weight: float = 1.0
    variables: tuple[str, ...] = field(default=(), metadata={ADDED: True})
    gaps: Gaps = field(default="cut", metadata={ADDED: True})
    group: str | GroupTable | None = field(default=None, metadata={ADDED: True})
    highest_hz: float | None = field(default=None, metadata={ADDED: True})

    def __post_init__(self) -> None:
        if self.highest_hz is not None and not 0 < self.highest_hz < math.inf:
            raise ValueError(f"highest_hz is {self.highest_hz}; a positive number of Hz is needed")
        if self.variable is not None and self.variables:
            raise ValueError(f"variable is {self.variable!r} and variables {list(self.variables)}; give one of them")
        _check_choice("gaps", self.gaps, get_args(Gaps))
        if not self.files:
            raise ValueError("files: at least one path or glob is needed")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels: {', '.join(self.channels)}; each may be named once")
        if isinstance(self.group, str) and (not self.group.strip() or "/" in self.group):
            raise ValueError(
                f'group is {self.group!r}; a pattern for one folder or a part of the file\'s name is needed ("s*"), '
                "without /"
            )
        _check_choice("use", self.use, get_args(Use))
        if not 0 < self.weight < math.inf:
            raise ValueError(
                f"weight is {self.weight}; a positive number is needed (to leave recordings out, unlist them)"
            )

    @property
    def n_channels(self) -> int:
        """Return the number of channels to read: those named, or the first."""
        return len(self.channels or self.variables) or 1


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """Shares of train, validation and test, and the seed of the random division.

    The shares are of the recordings; for sources with a group, of the groups; for a role with fewer than three
    recordings without a group, of the time of each.

    Raises ValueError unless the shares are positive and sum to 1.
    """

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        if not min(shares) > 0 or not abs(sum(shares) - 1) <= 1e-9:
            raise ValueError(f"shares are {shares}; positive numbers that sum to 1 are needed")
        _check_seed(self.seed)


@dataclass(frozen=True, slots=True)
class HeldOutConfig:
    """A fixed mixture: `n_windows` pairs of clean and noise windows, each mixed at every SNR of `snrs_db`.

    snrs_db: in dB. Infinity stands for the clean windows without noise. It is left out of the config: every evaluation
        adds these windows, and no validation does, so that a config with it and one without it are the same.

    Raises ValueError for a value that is not allowed.
    """

    n_windows: int = 32
    snrs_db: tuple[float, ...] = (-10.0, -5.0, 0.0, 5.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_windows < 1:
            raise ValueError(f"n_windows is {self.n_windows}; at least 1 is needed")
        if any(math.isnan(snr_db) or snr_db == -math.inf for snr_db in self.snrs_db):
            raise ValueError(f"snrs_db is {list(self.snrs_db)}; numbers of dB are needed, or inf for no noise")
        noisy = tuple(snr_db for snr_db in self.snrs_db if snr_db < math.inf)
        if not noisy:
            held = "holds inf alone" if self.snrs_db else "is empty"
            raise ValueError(f"snrs_db {held}; at least one SNR is needed")
        object.__setattr__(self, "snrs_db", noisy)
        if len(set(self.snrs_db)) != len(self.snrs_db):
            raise ValueError(f"snrs_db is {list(self.snrs_db)}; each SNR may be named once")
        _check_seed(self.seed)


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Random variations of training windows. A value of 0, the default of all, leaves a variation out.

    Unless stated otherwise, a variation is drawn for each window uniformly from 0 (or minus the value) to the value. A
    window keeps its in-band power, so gain and SNR are the same with and without augmentation.

    clean_tilt_db_per_octave, noise_tilt_db_per_octave: slope of the sensor's response around the band's centre, equal
        for all channels of the window.
    reference_tilt_db_per_octave: a further slope, drawn for each reference channel separately.
    clean_resonance_db, noise_resonance_db: gain of one resonance in or near the band, with Q from 1 to 6.
    tempo: largest relative change of the playback speed; 0.15 is 0.85 to 1.15 times as fast. The pitch changes with it.
    polarity: probability that the clean window, and independently the noise window, is inverted.
    noise_flat: probability that the noise is Gaussian and flat over the band instead of recorded, before the other
        variations. Its references are coherent with channel 0 to any degree, through short random paths.
    noise_mix: probability that the noise is the sum of two noise windows, with levels within 6 dB.
    noise_swell_db: standard deviation of the noise's level, which changes from second to second.
    noise_flutter_db: standard deviation of a level that changes from tenth to tenth of a second, as on rail joints and
        paving. Randomising phases spreads such changes over the whole window.
    engine_lines_db: by how much up to three harmonic lines raise the noise's power. Each line's frequency varies by 1
        to 3 %.
    bumps_per_minute: mean number of bumps, each a pair of ringing bursts 200 to 400 ms apart, as of two axles.
    reference_dropout: probability that a reference channel is silent throughout the window.
    reference_foreign: largest share of the references' power that comes from another window and is independent of
        channel 0, as with sensors elsewhere on the body, or a road that shakes each wheel separately.
    reference_heart: probability that the references of a window hear the heart too, each through a path of its own, as
        sensors at one seat do.
    band_again: probability that clean window and noise are band-passed once more, as recordings that were filtered
        before. It has no effect on data without a band.

    Raises ValueError for a value out of range.
    """

    clean_tilt_db_per_octave: Annotated[float, FloatDistribution(0.0, 18.0)] = 0.0
    noise_tilt_db_per_octave: Annotated[float, FloatDistribution(0.0, 12.0)] = 0.0
    reference_tilt_db_per_octave: Annotated[float, FloatDistribution(0.0, 6.0)] = 0.0
    clean_resonance_db: Annotated[float, FloatDistribution(0.0, 18.0)] = 0.0
    noise_resonance_db: Annotated[float, FloatDistribution(0.0, 18.0)] = 0.0
    tempo: Annotated[float, FloatDistribution(0.0, 0.25)] = 0.0
    polarity: Annotated[float, FloatDistribution(0.0, 0.5)] = 0.0
    noise_flat: Annotated[float, FloatDistribution(0.0, 1.0)] = field(default=0.0, metadata={ADDED: True})
    noise_mix: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.0
    noise_swell_db: Annotated[float, FloatDistribution(0.0, 8.0)] = 0.0
    noise_flutter_db: Annotated[float, FloatDistribution(0.0, 8.0)] = 0.0
    engine_lines_db: Annotated[float, FloatDistribution(0.0, 15.0)] = 0.0
    bumps_per_minute: Annotated[float, FloatDistribution(0.0, 20.0)] = 0.0
    reference_dropout: Annotated[float, FloatDistribution(0.0, 0.5)] = 0.0
    reference_foreign: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.0
    reference_heart: Annotated[float, FloatDistribution(0.0, 1.0)] = field(default=0.0, metadata={ADDED: True})
    band_again: Annotated[float, FloatDistribution(0.0, 1.0)] = field(default=0.0, metadata={ADDED: True})

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value <= MAX_AUGMENT[item.name]:
                raise ValueError(f"{item.name} is {value}; 0 (off) to {MAX_AUGMENT[item.name]:g} is allowed")

    @property
    def active(self) -> bool:
        """Return whether any variation is switched on."""
        return any(getattr(self, item.name) > 0 for item in fields(self))


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The section `data` of a run.

    clean, noise: the sources of the recordings.
    rate_hz: all recordings are resampled to this rate.
    band_hz: edges of the band-pass for clean and noise; None does not filter.
    band_phase: of the band-pass. "zero" filters forwards and backwards, which needs the whole recording. "minimum"
        filters forwards only, as the signal arrives, with the same gain at each frequency (data.streaming).
    window_samples, stride_samples: length and stride of windows, at `rate_hz`.
    randomiser: how training noise is randomised, a name in data.mixing.noise.RANDOMISERS. The noise is band-passed
        again afterwards if the randomiser spreads it over all frequencies (sample_shuffle).
    randomise_per: "window" randomises each window; "epoch" randomises each noise recording once per epoch and cuts
        windows from the result, which costs much less.
    pairing: "random" pairs any clean window with any noise window; "index" pairs them by time, as the lab did.
    level: "unit" scales each recording so that its first channel has an in-band RMS of 1. A gain of 1 then means 0 dB
        on average, whatever the units of the sensors. "raw" keeps the amplitudes as recorded.
    split: how recordings are divided among train, validation and test.
    validation, test: the held-out mixtures.
    augment: variations of training windows; validation and test windows are never varied.
    batch_offsets, offset_samples: a training batch consists of groups of batch_offsets clean windows of one recording,
        each offset_samples after the one before. The batch size is rounded down to whole groups, at least one. Each
        window has its own noise window. With 1, windows are drawn one by one; the lab used 6 windows 500 samples apart
        at 1 kHz.
    base: the folder that relative paths start from; None, or a folder that does not exist here: the working directory.
        Configs that differ in it are equal: it says where the recordings are, not which.

    Raises ValueError for a value that is not allowed.
    """

    clean: tuple[Source, ...]
    noise: tuple[Source, ...]
    rate_hz: float = 1000.0
    band_hz: tuple[float, float] | None = HEART_BAND_HZ
    window_samples: int = 5120
    stride_samples: int = 32
    randomiser: Randomiser = "phase_random"
    randomise_per: Per = "window"
    pairing: Pairing = "random"
    level: Level = "unit"
    split: SplitConfig = field(default_factory=SplitConfig)
    validation: HeldOutConfig = field(default_factory=HeldOutConfig)
    test: HeldOutConfig = field(default_factory=lambda: HeldOutConfig(n_windows=64, seed=1))
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch_offsets: int = 1
    offset_samples: int = 500
    base: str | None = field(default=None, compare=False, metadata={ADDED: True})
    band_phase: BandPhase = field(default="zero", metadata={ADDED: True})

    def __post_init__(self) -> None:
        if not self.clean or not self.noise:
            raise ValueError("data needs at least one clean and one noise source")
        if not MIN_RATE_HZ <= self.rate_hz < float("inf"):
            raise ValueError(
                f"rate_hz is {self.rate_hz}; at least {MIN_RATE_HZ:g} is needed for scores of heart sounds"
            )
        if self.window_samples < MIN_WINDOW_SAMPLES or self.stride_samples < 1:
            raise ValueError(
                f"window_samples is {self.window_samples} and stride_samples {self.stride_samples}; "
                f"at least {MIN_WINDOW_SAMPLES} and 1 are needed"
            )
        if self.band_hz is not None and not 0 < self.band_hz[0] < self.band_hz[1] < self.rate_hz / 2:
            raise ValueError(
                f"band_hz is {self.band_hz} at rate_hz {self.rate_hz}; 0 < low < high < {self.rate_hz / 2} is needed"
            )
        low_hz, high_hz = self.band_hz or HEART_BAND_HZ
        for source in (*self.clean, *self.noise):
            if source.highest_hz is not None and source.highest_hz <= low_hz + LEAST_OF_BAND_HZ:
                raise ValueError(
                    f"highest_hz is {source.highest_hz:g} for {source.files[0]}; more than "
                    f"{low_hz + LEAST_OF_BAND_HZ:g} Hz is needed for the band {low_hz:g} to {high_hz:g} Hz"
                )
        if self.batch_offsets < 1 or self.offset_samples < 1:
            raise ValueError(
                f"batch_offsets is {self.batch_offsets} and offset_samples {self.offset_samples}; at least 1 is needed"
            )
        if self.pairing == "index" and len({source.weight for source in self.noise}) > 1:
            raise ValueError('pairing "index" takes noise by its time, and heeds no weight; use pairing "random"')
        _check_choice("randomiser", self.randomiser, get_args(Randomiser))
        _check_choice("randomise_per", self.randomise_per, get_args(Per))
        _check_choice("pairing", self.pairing, get_args(Pairing))
        _check_choice("level", self.level, get_args(Level))
        _check_choice("band_phase", self.band_phase, get_args(BandPhase))
        if self.randomise_per == "epoch" and self.randomiser not in ("none", "phase_random"):
            raise ValueError(f'randomise_per "epoch" works with phase_random, not with {self.randomiser!r}')

    @property
    def n_channels(self) -> int:
        """Return the number of channels of a model: the channel to denoise and the most references of any source."""
        return max(source.n_channels for source in (*self.clean, *self.noise))

    @property
    def group_samples(self) -> int:
        """Return the samples from the first to the last of a group of training windows."""
        return self.window_samples + (self.batch_offsets - 1) * self.offset_samples

    def batch_windows(self, batch_size: int) -> int:
        """Return the windows in a training batch: `batch_size` rounded down to whole groups, at least one group."""
        return max(batch_size // self.batch_offsets, 1) * self.batch_offsets


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}; one of {', '.join(known)} is needed")


def _check_seed(seed: int) -> None:
    """Raise ValueError for a negative seed."""
    if seed < 0:
        raise ValueError(f"seed is {seed}; a whole number from 0 up is needed")
