"""The heart in reference channels: sensors near a body hear it, each through a path of its own."""

import math

import torch
from torch import Generator, Tensor

from data.mixing.disturbance import uniform
from data.mixing.response import filtered, tilt_response

QUIETEST_DB, LOUDEST_DB = -20.0, 10.0  # level of the heart in a reference, relative to channel 0
MOST_TILT_DB_PER_OCTAVE = 12.0
LONGEST_DELAY_S = 0.03


def heard_by_references(
    heart: Tensor, n_references: int, share: float, frequency_hz: Tensor, octaves: Tensor, generator: Generator
) -> Tensor:
    """Return the heart in each reference channel, float32[window, reference, time]; zeros where none hears it.

    In a share of the windows all references hear the heart. Each has a gain, a sign, a slope of its response and a
    delay of its own.

    heart: float32[window, 1, time], with context; the FFT continues it periodically, which a delay shifts into the
        context alone.
    share: probability that the references of a window hear the heart.
    frequency_hz, octaves: float32[bin], of the FFT of `heart`, see data.mixing.response.octaves_from_centre.
    """
    n, device = len(heart), heart.device
    is_heard = uniform((n, 1, 1), generator, device) < share
    chance = uniform((4, n, n_references), generator, device)
    gain = 10 ** ((QUIETEST_DB + (LOUDEST_DB - QUIETEST_DB) * chance[0]) / 20)
    sign = torch.where(chance[1] < 0.5, -1.0, 1.0)
    turn = frequency_hz * (-2 * math.pi * LONGEST_DELAY_S) * chance[2][..., None]
    delay = torch.complex(turn.cos(), turn.sin())
    path = tilt_response(octaves, (2 * chance[3] - 1) * MOST_TILT_DB_PER_OCTAVE) * delay * (sign * gain)[..., None]
    return torch.where(is_heard, filtered(heart, path), 0.0)
