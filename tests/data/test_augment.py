"""Varied training windows keep their stated SNR, level and bounds; left out, nothing changes by a bit."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.config import MAX_AUGMENT, AugmentConfig, DataConfig, Source
from data.corpus import Segment, Split, load
from data.filters import bandpass
from data.mixing.coupling import LOUDEST_DB, MOST_TILT_DB_PER_OCTAVE, QUIETEST_DB, heard_by_references
from data.mixing.disturbance import flat_noise
from data.mixing.mixture import Batch, Mixture, band_gain, mix
from data.mixing.noise import thin_out
from data.mixing.response import octaves_from_centre

RATE_HZ = 500.0
WINDOW = 512
BAND_HZ = (25.0, 55.0)
BATCH = 16
CPU = torch.device("cpu")
EVERYTHING = AugmentConfig(
    clean_tilt_db_per_octave=12.0,
    noise_tilt_db_per_octave=6.0,
    reference_tilt_db_per_octave=3.0,
    clean_resonance_db=12.0,
    noise_resonance_db=12.0,
    tempo=0.15,
    polarity=0.5,
    noise_mix=0.5,
    noise_swell_db=6.0,
    noise_flutter_db=6.0,
    engine_lines_db=10.0,
    bumps_per_minute=20.0,
    reference_dropout=0.3,
    reference_foreign=0.7,
    noise_flat=0.5,
    band_again=0.5,
    reference_heart=0.5,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def config(augment: AugmentConfig = EVERYTHING, **options: Any) -> DataConfig:
    chosen: dict[str, Any] = {"rate_hz": RATE_HZ, "window_samples": WINDOW, "stride_samples": 32} | options
    return DataConfig(clean=(Source(("c",)),), noise=(Source(("n",)),), augment=augment, **chosen)


def segment(seed: int, n_samples: int, n_channels: int, *, banded: bool = True, level: float = 1.0) -> Segment:
    """Noise whose channels have a common part, in band or with a strong slow drift."""
    rng = np.random.default_rng(seed)
    wide = rng.standard_normal((n_channels, n_samples)) + 0.7 * rng.standard_normal(n_samples)
    wide += 3 * np.sin(2 * np.pi * 0.9 * np.arange(n_samples) / RATE_HZ)
    in_band = bandpass(wide, RATE_HZ, *BAND_HZ) * np.float32(level)
    signals = in_band if banded else wide.astype(np.float32) * np.float32(level)
    heard = in_band[0].copy()
    for array in (signals, heard):
        array.setflags(write=False)
    return Segment(signals, heard, Path(f"{seed}.npz"), np.arange(0.3, n_samples / RATE_HZ, 0.4))


def split(n_channels: int = 2, *, banded: bool = True, alone: bool = False, level: float = 1.0) -> Split:
    """alone: no heart in the references."""
    clean = [segment(seed, n, n_channels, banded=banded, level=level) for seed, n in ((1, 4000), (2, 3000))]
    if alone:
        mask = np.zeros((n_channels, 1), np.float32)
        mask[0] = 1
        clean = [dataclasses.replace(one, signals=one.signals * mask) for one in clean]
    noise = (segment(3, 4000, n_channels, banded=banded), segment(4, 2500, n_channels, banded=banded))
    return Split(tuple(clean), noise)


def batches(data: DataConfig, parts: Split, *, n_steps: int = 3, seed: int = 0, **how: Any) -> list[Batch]:
    return list(Mixture(parts, data, CPU).epoch(n_steps, BATCH, seeded(seed), **({"gain": 1.0} | how)))


def parts_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Clean and noise [window, time] of channel 0, as mixed."""
    return (batch.clean * batch.scale)[:, 0], ((batch.noisy[:, :1] - batch.clean) * batch.scale)[:, 0]


def together(drawn: list[Batch]) -> tuple[Tensor, Tensor]:
    """Clean and noise [window, time] of channel 0 of all batches."""
    pairs = [parts_of(batch) for batch in drawn]
    return torch.cat([clean for clean, _ in pairs]), torch.cat([noise for _, noise in pairs])


def snr_db(batch: Batch, data: DataConfig) -> Tensor:
    clean, noise = parts_of(batch)
    if data.band_hz is None:
        gain = band_gain(WINDOW, data)
        clean, noise = (torch.fft.irfft(torch.fft.rfft(x) * gain, n=WINDOW) for x in (clean, noise))
    return 10 * torch.log10(clean.square().mean(-1) / noise.square().mean(-1))


def only(name: str, value: float = 0.5) -> AugmentConfig:
    return AugmentConfig(**{name: value})


def test_left_out_nothing_changes_by_a_bit() -> None:
    """The batches are those of the draws made by hand: order, pairing, surrogates; no chance is taken for more."""
    data, parts = config(AugmentConfig()), split()
    mixture = Mixture(parts, data, CPU)
    generator = seeded(7)
    starts = mixture.heads.at(torch.randperm(mixture.n_windows, generator=generator)[: 2 * BATCH])
    noise_starts = mixture.noises.at(torch.randint(len(mixture.noises), (2 * BATCH,), generator=generator))
    band_noise = thin_out(mixture.noise, band_gain(WINDOW, data))
    assert band_noise is not None
    for step, batch in enumerate(mixture.epoch(2, BATCH, seeded(7), gain=0.5)):
        now = slice(step * BATCH, (step + 1) * BATCH)
        power = mixture.noise.power[noise_starts[now]]
        drawn = band_noise.draw(noise_starts[now], power, generator)
        snr = 10 * ((mixture.clean.power[starts[now]] / power).log10() - torch.full((BATCH,), 0.5).square().log10())
        clean = mixture.clean.take(starts[now])
        wanted = mix(clean, drawn, torch.full((BATCH,), 0.5), clean[:, 0].abs().amax(-1), snr)
        assert torch.equal(batch.noisy, wanted.noisy)
        assert torch.equal(batch.clean, wanted.clean)
        assert torch.equal(batch.scale, wanted.scale)


@pytest.mark.parametrize("name", MAX_AUGMENT)
def test_each_field_on_its_own_changes_the_windows(name: str) -> None:
    value = 20.0 if name == "bumps_per_minute" else 0.5
    usual, varied = batches(config(AugmentConfig()), split()), batches(config(only(name, value)), split())
    again = batches(config(only(name, value)), split())
    assert not any(torch.equal(a.noisy, b.noisy) for a, b in zip(usual, varied, strict=True))
    assert all(torch.equal(a.noisy, b.noisy) for a, b in zip(again, varied, strict=True))


@pytest.mark.parametrize("randomiser", ["phase_random", "none", "sample_shuffle"])
@pytest.mark.parametrize("banded", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_the_snr_is_exactly_the_stated_one(randomiser: str, banded: bool, alone: bool) -> None:
    """-20 log10(gain), of the very clean and noise windows that were added, whatever was done to them."""
    data = config(randomiser=randomiser, band_hz=BAND_HZ if banded else None)
    for gain in (0.5, 2.0):
        for batch in batches(data, split(banded=banded, alone=alone), gain=gain, per_window=True):
            torch.testing.assert_close(
                batch.snr_db, torch.full((BATCH,), -20 * np.log10(gain)).float(), atol=1e-3, rtol=0
            )
            torch.testing.assert_close(snr_db(batch, data), batch.snr_db, atol=0.02, rtol=0)


@pytest.mark.parametrize("per", ["window", "epoch"])
def test_in_gain_mode_windows_keep_their_levels_and_the_snr_is_measured(per: str) -> None:
    """Gain means what it means without augmentation: a tilt or a swell moves power about, and adds none."""
    data = config(randomise_per=per)
    for batch in batches(data, split(), gain=0.5):
        torch.testing.assert_close(snr_db(batch, data), batch.snr_db, atol=0.02, rtol=0)
    plain, varied = (
        torch.cat([b.snr_db for b in batches(c, split(), gain=0.5, n_steps=20)])
        for c in (config(AugmentConfig(), randomise_per=per), data)
    )
    assert float(plain.mean()) == pytest.approx(float(varied.mean()), abs=0.5)


amounts = st.fixed_dictionaries({name: st.floats(0, most) for name, most in MAX_AUGMENT.items()})


@settings(max_examples=25)
@given(
    amounts=amounts,
    n_channels=st.integers(1, 3),
    banded=st.booleans(),
    per_window=st.booleans(),
    level=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_whatever_is_asked_all_is_finite_and_the_target_bounded(
    amounts: dict[str, float], n_channels: int, banded: bool, per_window: bool, level: float
) -> None:
    data = config(AugmentConfig(**amounts), band_hz=BAND_HZ if banded else None)
    parts = split(n_channels, banded=banded, level=level)
    (batch,) = batches(data, parts, n_steps=1, gain=2.0, spread_db=10.0, per_window=per_window)
    assert batch.clean.abs().max() < 1
    assert batch.noisy[:, 0].abs().max() < 1
    for values in (batch.noisy, batch.clean, batch.scale, batch.snr_db):
        assert torch.isfinite(values).all()
    assert batch.noisy.shape == (BATCH, n_channels, WINDOW)


def test_equal_generators_give_equal_windows_and_others_do_not() -> None:
    one, again, other = (batches(config(), split(3), seed=seed) for seed in (3, 3, 4))
    for a, b, c in zip(one, again, other, strict=True):
        assert torch.equal(a.noisy, b.noisy)
        assert torch.equal(a.clean, b.clean)
        assert not torch.equal(a.clean, c.clean)


@pytest.mark.parametrize("randomiser", ["phase_random", "none"])
@pytest.mark.parametrize("per", ["window", "epoch"])
def test_the_recordings_stay_as_they_were(randomiser: str, per: str) -> None:
    parts = split(3)
    before = [s.signals.copy() for s in (*parts.clean, *parts.noise)]
    mixture = Mixture(parts, config(randomiser=randomiser, randomise_per=per), CPU)
    first = [b.noisy.clone() for b in mixture.epoch(2, BATCH, seeded(), gain=1.0)]
    for batch in mixture.epoch(2, BATCH, seeded(1), gain=1.0):
        batch.noisy.zero_()
        batch.clean.zero_()
    for old, new in zip(first, mixture.epoch(2, BATCH, seeded(), gain=1.0), strict=True):
        assert torch.equal(old, new.noisy)
    for array, s in zip(before, (*parts.clean, *parts.noise), strict=True):
        assert np.array_equal(array, s.signals)


def test_polarity_turns_clean_and_noise_each_on_its_own() -> None:
    """With the same draws but for the sign, each window comes out as it is or negated, all four ways."""
    usual = together(batches(config(only("polarity", 1e-9), randomiser="none"), split()))
    turned = together(batches(config(only("polarity", 0.5), randomiser="none"), split()))
    signs = [(old * new).sum(-1).sign() for old, new in zip(usual, turned, strict=True)]
    for old, new, sign in zip(usual, turned, signs, strict=True):
        torch.testing.assert_close(new, sign[:, None] * old, atol=1e-4, rtol=0)
    assert len(set(zip(*(sign.tolist() for sign in signs), strict=True))) == 4


def test_a_clean_tilt_raises_one_end_of_the_band_and_not_the_noise() -> None:
    """The slope of a window's spectrum over octaves moves by up to the stated one, either way."""
    name = "clean_tilt_db_per_octave"
    usual = together(batches(config(only(name, 1e-6), randomiser="none"), split(), n_steps=8))
    tilted = together(batches(config(only(name, 12.0), randomiser="none"), split(), n_steps=8))
    frequency_hz = torch.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    low, high = (frequency_hz > 27) & (frequency_hz < 33), (frequency_hz > 44) & (frequency_hz < 54)
    taper = torch.hann_window(WINDOW)

    def contrast_db(x: Tensor) -> Tensor:
        power: Tensor = torch.fft.rfft(x * taper).abs().square()
        return 10 * (power[:, high].sum(-1) / power[:, low].sum(-1)).log10()

    changes_db = contrast_db(tilted[0]) - contrast_db(usual[0])
    assert 6 < float(changes_db.max()) < 12
    assert -12 < float(changes_db.min()) < -6
    torch.testing.assert_close(usual[1], tilted[1], atol=1e-4, rtol=0)


def test_clean_windows_have_no_spikes_at_their_ends() -> None:
    """What a filter does where its input is cut lies in the context, which is thrown away."""
    augment = AugmentConfig(clean_tilt_db_per_octave=12.0, clean_resonance_db=12.0)
    cleans, _ = together(batches(config(augment), split(), n_steps=30))
    steepness = cleans.diff(dim=-1).abs().mean(0)
    assert float(steepness[[0, 1, -2, -1]].max()) < 1.3 * float(steepness[100:-100].mean())


def test_engine_lines_raise_the_noise_by_up_to_their_decibels() -> None:
    """Noise and lines have nothing in common, so the noise that remains in the sum shows how much was added."""
    _, usual = together(batches(config(only("engine_lines_db", 1e-6), randomiser="none"), split(), n_steps=8))
    _, raised = together(batches(config(only("engine_lines_db", 10.0), randomiser="none"), split(), n_steps=8))
    share = torch.nn.functional.cosine_similarity(usual, raised)
    raised_db = -20 * share.log10()
    assert float(raised_db.min()) < 1
    assert float(raised_db.mean()) == pytest.approx(5, abs=1.5)
    assert float(raised_db.quantile(0.9)) < 12


def test_flat_noise_replaces_as_many_windows_as_asked_and_keeps_their_power() -> None:
    _, usual = together(batches(config(only("noise_flat", 1e-9), randomiser="none"), split(), n_steps=20))
    _, drawn = together(batches(config(only("noise_flat", 0.4), randomiser="none"), split(), n_steps=20))
    alike = torch.nn.functional.cosine_similarity(usual, drawn).abs()
    assert float((alike > 0.9999).float().mean()) == pytest.approx(0.6, abs=0.1)
    assert float(alike[alike < 0.9999].max()) < 0.5


def test_windows_that_are_band_passed_again_lose_their_edges_in_heart_and_noise_alike() -> None:
    """At the band's edges the filter has a gain of -6 dB; a window has both parts filtered or neither."""
    usual = together(batches(config(only("band_again", 1e-9), randomiser="none"), split(), n_steps=20))
    drawn = together(batches(config(only("band_again", 0.4), randomiser="none"), split(), n_steps=20))
    frequency_hz = torch.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    edges = ((frequency_hz - BAND_HZ[0]).abs() < 2) | ((frequency_hz - BAND_HZ[1]).abs() < 2)
    middle = (frequency_hz > 35) & (frequency_hz < 45)

    def edge_db(x: Tensor) -> Tensor:
        power: Tensor = torch.fft.rfft(x * torch.hann_window(WINDOW)).abs().square()
        return 10 * (power[:, edges].sum(-1) / power[:, middle].sum(-1)).log10()

    clean_db, noise_db = (edge_db(new) - edge_db(old) for old, new in zip(usual, drawn, strict=True))
    is_again = noise_db < -2
    assert float(is_again.float().mean()) == pytest.approx(0.4, abs=0.1)
    assert torch.equal(is_again, clean_db < -2)
    assert -9 < float(noise_db[is_again].mean()) < -4
    assert float(noise_db[~is_again].abs().max()) < 0.1


def test_references_hear_the_heart_in_the_stated_share_of_windows() -> None:
    """Channel 0 and the noise are what they are without it; a reference's heart is a filtered one of channel 0."""
    parts = split(alone=True)
    without, drawn = (
        batches(config(only("reference_heart", share), randomiser="none"), parts, n_steps=20) for share in (1e-9, 0.4)
    )
    heard = torch.cat([(new.noisy - old.noisy) * new.scale for old, new in zip(without, drawn, strict=True)])
    heart = torch.cat([batch.clean * batch.scale for batch in drawn])
    assert float(heard[:, 0].abs().max()) < 1e-4
    is_heard = heard[:, 1].square().mean(-1) > 1e-8
    assert float(is_heard.float().mean()) == pytest.approx(0.4, abs=0.1)
    ratio_db = 10 * (heard[is_heard, 1].square().mean(-1) / heart[is_heard, 0].square().mean(-1)).log10()
    assert -26 < float(ratio_db.min()) < -12
    assert 4 < float(ratio_db.max()) < 16


def test_the_heart_in_a_reference_is_that_of_channel_0_through_a_path_of_its_own() -> None:
    n = 4096
    frequency_hz = torch.fft.rfftfreq(n, 1 / RATE_HZ)
    heart = torch.randn((6, 1, n), generator=seeded())
    octaves = octaves_from_centre(frequency_hz, BAND_HZ)
    heard = heard_by_references(heart, 3, 1.0, frequency_hz, octaves, seeded(1))
    path = torch.fft.rfft(heard) / torch.fft.rfft(heart)
    centre = int((frequency_hz - (BAND_HZ[0] * BAND_HZ[1]) ** 0.5).abs().argmin())
    level_db = 20 * path[..., centre].abs().log10()
    assert heard.shape == (6, 3, n)
    assert float(level_db.min()) > QUIETEST_DB - 0.1
    assert float(level_db.max()) < LOUDEST_DB + 0.1
    assert float(level_db.std()) > 3
    rise_db = 20 * (path.abs()[..., (frequency_hz > 54) & (frequency_hz < 55)].mean(-1)).log10() - level_db
    assert 1 < float(rise_db.abs().max()) < MOST_TILT_DB_PER_OCTAVE
    assert not torch.allclose(heard[:, 0], heard[:, 1])
    none = heard_by_references(heart, 3, 0.0, frequency_hz, octaves, seeded(1))
    assert float(none.abs().max()) == 0


def test_flat_noise_has_the_same_power_in_every_part_of_the_band() -> None:
    drawn = flat_noise((400, 1, 512), seeded(), CPU)[:, 0]
    power = torch.fft.rfft(drawn).abs().square().mean(0)[1:-1]
    parts = power.view(5, -1).mean(-1) / power.mean()
    torch.testing.assert_close(parts, torch.ones_like(parts), atol=0.05, rtol=0)
    assert float(drawn.var()) == pytest.approx(1.0, abs=0.02)


def test_references_of_flat_noise_are_coherent_to_any_degree() -> None:
    """A filter from a reference to channel 0 removes from nothing to nearly all of its noise."""
    drawn = flat_noise((200, 3, 2048), seeded(), CPU).double()
    taps = torch.stack([drawn.roll(shift, dims=-1) for shift in range(-20, 21)], dim=-1)
    left = []
    for window, lagged in zip(drawn, taps, strict=True):
        weights = torch.linalg.lstsq(lagged[1], window[0][:, None]).solution
        left.append(float((window[0] - (lagged[1] @ weights)[:, 0]).square().mean() / window[0].square().mean()))
    assert min(left) < 0.2
    assert max(left) > 0.9
    assert float(np.mean(left)) == pytest.approx(0.5, abs=0.15)


def test_noise_mix_adds_a_second_noise_window_to_as_many_as_asked() -> None:
    _, usual = together(batches(config(only("noise_mix", 1e-9), randomiser="none"), split(), n_steps=20))
    _, mixed = together(batches(config(only("noise_mix", 0.4), randomiser="none"), split(), n_steps=20))
    alike = torch.nn.functional.cosine_similarity(usual, mixed)
    assert float((alike > 0.9999).float().mean()) == pytest.approx(0.6, abs=0.1)
    # a second window 6 dB under or over the first leaves a correlation of 0.9 or 0.45, more or less by chance
    assert 0.2 < float(alike[alike < 0.9999].mean()) < 0.9


def test_a_dropped_reference_is_silent_throughout_and_the_first_channel_never() -> None:
    drawn = torch.cat([b.noisy for b in batches(config(only("reference_dropout", 0.3)), split(3), n_steps=20)])
    silent = (drawn == 0).all(-1)
    assert not silent[:, 0].any()
    assert float(silent[:, 1:].float().mean()) == pytest.approx(0.3, abs=0.06)
    assert not (silent[:, 1:] != (drawn[:, 1:, 5] == 0)).any()


def test_foreign_references_leave_the_first_channel_alone() -> None:
    usual = torch.cat([b.noisy for b in batches(config(only("reference_foreign", 1e-9)), split(3), n_steps=20)])
    drawn = torch.cat([b.noisy for b in batches(config(only("reference_foreign", 1.0)), split(3), n_steps=20)])
    torch.testing.assert_close(drawn[:, 0], usual[:, 0], atol=1e-5, rtol=0)
    assert float(torch.nn.functional.cosine_similarity(drawn[:, 1:], usual[:, 1:], dim=-1).mean()) < 0.9


def test_a_reference_tilt_leaves_the_first_channel_alone() -> None:
    augment = only("reference_tilt_db_per_octave", 6.0)
    faint = only("reference_tilt_db_per_octave", 1e-6)
    for a, b in zip(batches(config(faint), split(3)), batches(config(augment), split(3)), strict=True):
        torch.testing.assert_close(a.noisy[:, 0], b.noisy[:, 0], atol=1e-4, rtol=0)
        assert (a.noisy[:, 1:] - b.noisy[:, 1:]).abs().amax((1, 2)).min() > 0.01


def test_real_recordings_can_be_varied(realdata: Path) -> None:
    """A bus with three axes, everything on: the SNR stays exact."""
    data = DataConfig(
        clean=(Source((str(realdata / "heart_ecg" / "radar2pcg" / "0[0-2]_PCG.wav"),)),),
        noise=(Source((str(realdata / "vehicle" / "*.npz"),), channels=("z", "x", "y")),),
        rate_hz=250.0,
        window_samples=1280,
        augment=EVERYTHING,
    )
    for batch in Mixture(load(data).splits["train"], data, CPU).epoch(3, BATCH, seeded(), gain=2.0, per_window=True):
        torch.testing.assert_close(snr_db(batch, data), torch.full((BATCH,), -6.0206), atol=0.02, rtol=0)
