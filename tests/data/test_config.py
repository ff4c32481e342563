"""A data config that cannot be is refused by name."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest

from data.config import AugmentConfig, DataConfig, EcgRule, HeldOutConfig, Randomiser, Source, SplitConfig
from data.mixing.noise import RANDOMISERS

RATE_HZ = 500.0


def config(clean: tuple[Source, ...], noise: tuple[Source, ...], **options: Any) -> DataConfig:
    return DataConfig(clean=clean, noise=noise, **({"rate_hz": RATE_HZ, "window_samples": 500} | options))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate_hz": 100.0, "band_hz": None}, "rate_hz is 100.0; at least 200"),
        ({"rate_hz": float("nan")}, "rate_hz is nan"),
        ({"window_samples": 8}, "window_samples is 8"),
        ({"stride_samples": 0}, "stride_samples 0"),
        ({"band_hz": (55.0, 25.0)}, "0 < low < high"),
        ({"band_hz": (25.0, 250.0)}, "0 < low < high"),
        ({"randomiser": "fase"}, "randomiser is 'fase'; one of none, "),
        ({"randomise_per": "epoch", "randomiser": "sample_shuffle"}, "works with phase_random"),
        ({"pairing": "time"}, "pairing is 'time'"),
        ({"level": "loud"}, "level is 'loud'"),
        ({"batch_offsets": 0}, "batch_offsets is 0 and offset_samples 500; at least 1"),
        ({"offset_samples": 0}, "offset_samples 0; at least 1"),
        ({"clean": ()}, "at least one clean and one noise"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    source = (Source(("a.npz",)),)
    with pytest.raises(ValueError, match=said):
        config(**({"clean": source, "noise": source} | change))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Source(()), "at least one path"),
        (lambda: Source(("a",), channels=("z", "z")), "each may be named once"),
        (lambda: Source(("a",), use="training"), "use is 'training'"),  # type: ignore[arg-type]
        (lambda: EcgRule("", "_ECG"), "two different texts"),
        (lambda: SplitConfig(0.5, 0.5, 0.5), "sum to 1"),
        (lambda: SplitConfig(1.0, 0.0, 0.0), "positive numbers"),
        (lambda: SplitConfig(seed=-1), "seed is -1"),
        (lambda: HeldOutConfig(n_windows=0), "n_windows is 0"),
        (lambda: HeldOutConfig(snrs_db=()), "snrs_db is empty; at least one SNR"),
        (lambda: HeldOutConfig(snrs_db=(math.inf,)), "snrs_db holds inf alone; at least one SNR"),
        (lambda: HeldOutConfig(snrs_db=(0.0, math.nan)), "snrs_db is .*; numbers of dB are needed"),
        (lambda: HeldOutConfig(snrs_db=(0.0, -math.inf)), "snrs_db is .*; numbers of dB are needed"),
        (lambda: AugmentConfig(tempo=0.6), r"tempo is 0.6; 0 \(off\) to 0.5 is allowed"),
        (lambda: AugmentConfig(polarity=-0.1), "polarity is -0.1"),
        (lambda: AugmentConfig(clean_resonance_db=float("nan")), "clean_resonance_db is nan"),
        (lambda: HeldOutConfig(snrs_db=(0.0, 0.0)), "each SNR may be named once"),
    ],
)
def test_a_part_that_cannot_be_is_refused_by_name(build: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_the_config_names_the_randomisers_that_exist() -> None:
    assert set(get_args(Randomiser)) == set(RANDOMISERS)


def test_augmentation_is_off_by_default_and_active_as_soon_as_one_field_is_set() -> None:
    assert not AugmentConfig().active
    assert not config((Source(("a",)),), (Source(("b",)),)).augment.active
    assert all(AugmentConfig(**{field.name: 0.1}).active for field in dataclasses.fields(AugmentConfig))


def test_every_augmentation_has_a_range_that_can_exist_and_begins_at_off() -> None:
    for name, hint in get_type_hints(AugmentConfig, include_extras=True).items():
        _, distribution = get_args(hint)
        assert distribution.low == 0
        AugmentConfig(**{name: distribution.high})
