"""What a run learns from and is scored on: recordings, how they are cut, split and mixed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from optuna.distributions import FloatDistribution

# What can exist, which is more than where a search looks.
MOST: Mapping[str, float] = MappingProxyType(
    {
        "clean_tilt_db_per_octave": 24.0,
        "noise_tilt_db_per_octave": 24.0,
        "reference_tilt_db_per_octave": 24.0,
        "clean_resonance_db": 40.0,
        "noise_resonance_db": 40.0,
        "tempo": 0.5,
        "polarity": 1.0,
        "noise_mix": 1.0,
        "noise_swell_db": 20.0,
        "noise_flutter_db": 20.0,
        "engine_lines_db": 40.0,
        "bumps_per_minute": 120.0,
        "reference_dropout": 1.0,
        "reference_foreign": 1.0,
    }
)


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Random changes of training windows; 0 leaves one out, and by default all are left out.

    Drawn anew for each window, from 0 (or minus the value) to the value unless said otherwise. A window keeps the
    in-band power that it had, so gain and SNR mean what they mean without augmentation.

    clean_tilt_db_per_octave, noise_tilt_db_per_octave: slope of the sensor's response about the band's centre, one
    for all channels of the window. reference_tilt_db_per_octave: a further one for each reference channel alone.
    clean_resonance_db, noise_resonance_db: gain of one resonance somewhere in the band, Q from 1 to 6.
    tempo: largest relative change of the beat's speed, 0.15 being 0.85 to 1.15 times as fast. Pitch goes with it, as
    when a tape is played faster.
    polarity: probability that the clean window, and independently the noise window, is turned upside down.
    noise_mix: probability that the noise is the sum of two noise windows, their levels within 6 dB.
    noise_swell_db: standard deviation of the noise's level, which wanders from second to second.
    noise_flutter_db: the same of a level that wanders from tenth to tenth of a second: joints of rails, paving, which a
    randomiser of phases smears over the window.
    engine_lines_db: by how much up to three harmonic lines, each wandering by 1 to 3 %, raise the noise's power.
    bumps_per_minute: mean number of bumps, each a pair of ringing bursts 200 to 400 ms apart as of two axles.
    reference_dropout: probability that a reference channel is silent throughout the window.
    reference_foreign: largest share of the references' power that comes from another window, and so tells nothing of
    channel 0: sensors on other parts of the body, or a road that shakes each wheel by itself.
    """

    clean_tilt_db_per_octave: Annotated[float, FloatDistribution(0.0, 18.0)] = 0.0
    noise_tilt_db_per_octave: Annotated[float, FloatDistribution(0.0, 12.0)] = 0.0
    reference_tilt_db_per_octave: Annotated[float, FloatDistribution(0.0, 6.0)] = 0.0
    clean_resonance_db: Annotated[float, FloatDistribution(0.0, 18.0)] = 0.0
    noise_resonance_db: Annotated[float, FloatDistribution(0.0, 18.0)] = 0.0
    tempo: Annotated[float, FloatDistribution(0.0, 0.25)] = 0.0
    polarity: Annotated[float, FloatDistribution(0.0, 0.5)] = 0.0
    noise_mix: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.0
    noise_swell_db: Annotated[float, FloatDistribution(0.0, 8.0)] = 0.0
    noise_flutter_db: Annotated[float, FloatDistribution(0.0, 8.0)] = 0.0
    engine_lines_db: Annotated[float, FloatDistribution(0.0, 15.0)] = 0.0
    bumps_per_minute: Annotated[float, FloatDistribution(0.0, 20.0)] = 0.0
    reference_dropout: Annotated[float, FloatDistribution(0.0, 0.5)] = 0.0
    reference_foreign: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value <= MOST[item.name]:
                raise ValueError(f"{item.name} is {value}; 0 (off) to {MOST[item.name]:g} is allowed")

    @property
    def active(self) -> bool:
        """Whether anything is varied at all."""
        return any(getattr(self, item.name) > 0 for item in fields(self))


Use = Literal["split", "train", "validation", "test"]
Randomiser = Literal["none", "sample_shuffle", "phase_shuffle", "half_phase_shuffle", "phase_random"]

# Below this the heart's band and its envelope cannot be scored.
MIN_RATE_HZ = 200.0
MIN_WINDOW_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class EcgRule:
    """Where a recording's ECG lies when it is a file of its own: its name with `replace` turned into `by`."""

    replace: str
    by: str

    def __post_init__(self) -> None:
        if not self.replace or self.replace == self.by:
            raise ValueError(f"replace is {self.replace!r} and by {self.by!r}; two different texts are needed")


@dataclass(frozen=True, slots=True)
class Source:
    """Some recordings that are read alike.

    files: paths or globs, relative to the working directory.
    channels: names, the one to clean first, references after it; empty takes the file's first channel.
    variable, rate_hz, layout: passed to the reader where a file does not say them itself.
    ecg: the file that holds the ECG, if it is another one.
    use: "split" lets the split decide; "train", "validation" or "test" pins all of them.
    weight: how often training draws a second of these recordings, beside a second of the others: 5 lets an hour of real
    ones count as much as five of generated ones. Validation and test windows do not heed it.
    """

    files: tuple[str, ...]
    channels: tuple[str, ...] = ()
    variable: str | None = None
    rate_hz: float | None = None
    layout: str = "auto"
    ecg: EcgRule | None = None
    use: Use = "split"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("files: at least one path or glob is needed")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels: {', '.join(self.channels)}; each may be named once")
        _check_choice("use", self.use, get_args(Use))
        if not 0 < self.weight < math.inf:
            raise ValueError(
                f"weight is {self.weight}; a positive number is needed (to leave recordings out, unlist them)"
            )


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """Shares of the recordings (of the time, within a role that has fewer than three) and the seed that deals them."""

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
    """A fixed mixture: `n_windows` pairs of clean and noise windows, each mixed at every one of `snrs_db`."""

    n_windows: int = 32
    snrs_db: tuple[float, ...] = (-10.0, -5.0, 0.0, 5.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_windows < 1:
            raise ValueError(f"n_windows is {self.n_windows}; at least 1 is needed")
        if not self.snrs_db:
            raise ValueError("snrs_db is empty; at least one SNR is needed")
        if len(set(self.snrs_db)) != len(self.snrs_db):
            raise ValueError(f"snrs_db is {list(self.snrs_db)}; each SNR may be named once")
        _check_seed(self.seed)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Recordings in, mixtures out.

    rate_hz: everything is resampled to it. band_hz: zero-phase band-pass of clean and noise; None leaves it out.
    window_samples, stride_samples: at `rate_hz`.
    randomiser: a kind of data.mixing.noise.RANDOMISERS, for training noise only; what sample_shuffle spreads over all
    frequencies is brought back into band_hz.
    randomise_per: "window" draws anew for each window; "epoch" draws one surrogate of each noise recording per
    epoch and cuts windows from it, which costs a fraction.
    pairing: "random" pairs any clean window with any noise window; "index" pairs them by time (the lab's old way).
    level: "unit" brings each recording's first channel to an RMS of 1 in band, so that gain 1 means 0 dB on
    average whatever the sensors' units; "raw" keeps amplitudes as recorded.
    augment: how training windows are varied; validation and test windows never are.
    batch_offsets, offset_samples: a training batch is made of groups of batch_offsets clean windows of one recording,
    each offset_samples after the one before; the batch size is rounded down to whole groups, at least one. Each
    window has a noise window of its own. 1 takes windows one by one; the lab took 6 windows 500 samples apart at 1 kHz.
    """

    clean: tuple[Source, ...]
    noise: tuple[Source, ...]
    rate_hz: float = 1000.0
    band_hz: tuple[float, float] | None = (25.0, 55.0)
    window_samples: int = 5120
    stride_samples: int = 32
    randomiser: Randomiser = "phase_random"
    randomise_per: Literal["window", "epoch"] = "window"
    pairing: Literal["random", "index"] = "random"
    level: Literal["unit", "raw"] = "unit"
    split: SplitConfig = field(default_factory=SplitConfig)
    validation: HeldOutConfig = field(default_factory=HeldOutConfig)
    test: HeldOutConfig = field(default_factory=lambda: HeldOutConfig(n_windows=64, seed=1))
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch_offsets: int = 1
    offset_samples: int = 500

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
        if self.batch_offsets < 1 or self.offset_samples < 1:
            raise ValueError(
                f"batch_offsets is {self.batch_offsets} and offset_samples {self.offset_samples}; at least 1 is needed"
            )
        if self.pairing == "index" and len({source.weight for source in self.noise}) > 1:
            raise ValueError('pairing "index" takes noise by its time, and heeds no weight; use pairing "random"')
        _check_choice("randomiser", self.randomiser, get_args(Randomiser))
        _check_choice("randomise_per", self.randomise_per, ("window", "epoch"))
        _check_choice("pairing", self.pairing, ("random", "index"))
        _check_choice("level", self.level, ("unit", "raw"))
        if self.randomise_per == "epoch" and self.randomiser not in ("none", "phase_random"):
            raise ValueError(f'randomise_per "epoch" works with phase_random, not with {self.randomiser!r}')

    @property
    def n_channels(self) -> int:
        """What a model of these data takes: the channel to clean and the most references that a source names."""
        return max(max(len(source.channels), 1) for source in (*self.clean, *self.noise))

    @property
    def group_samples(self) -> int:
        """From the first to the last sample of a group of training windows."""
        return self.window_samples + (self.batch_offsets - 1) * self.offset_samples

    def batch_windows(self, batch_size: int) -> int:
        """Windows in a training batch of `batch_size`: rounded down to whole groups, but at least one group."""
        return max(batch_size // self.batch_offsets, 1) * self.batch_offsets


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; one of {', '.join(known)} is needed")


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}; a whole number from 0 up is needed")
