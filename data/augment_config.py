"""How training windows are varied, so that a model does not learn a few sensors and vehicles by heart."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated

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
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= MOST[field.name]:
                raise ValueError(f"{field.name} is {value}; 0 (off) to {MOST[field.name]:g} is allowed")

    @property
    def active(self) -> bool:
        """Whether anything is varied at all."""
        return any(getattr(self, field.name) > 0 for field in fields(self))
