"""Denoisers that work on a learned encoding at a lower rate: encoder, body, mask or not, decoder."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from models.parts.layers import OUTPUTS, Output, SameConv, UpConv, run_padded

Mask = Literal["sigmoid", "relu", "none"]

MASKS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "relu": torch.relu}


class EncodedDenoiser(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time].

    `encoder` maps [batch, n_channels, stride * steps] to [batch, n_filters, steps], `body` keeps that shape,
    `decoder` maps it to [batch, 1, stride * steps]. With a mask, what the body gives is squashed by it and
    multiplies the encoding; with "none" it takes the encoding's place. `n_margin` steps of reflected signal
    stand at both ends, so that a decoder whose steps overlap is complete there.
    """

    def __init__(
        self,
        encoder: nn.Module,
        body: nn.Module,
        decoder: nn.Module,
        mask: Mask,
        output: Output,
        stride: int,
        n_margin: int,
    ) -> None:
        super().__init__()
        self.encoder, self.body, self.decoder = encoder, body, decoder
        self.out = OUTPUTS[output]()
        self.mask, self.stride, self.n_margin = mask, stride, n_margin

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, self.stride, self.n_margin * self.stride)

    def denoise(self, noisy: Tensor) -> Tensor:
        """The net on a length that is a multiple of the stride."""
        encoded = self.encoder(noisy)
        kept = self.body(encoded)
        if self.mask != "none":
            kept = encoded * MASKS[self.mask](kept)
        estimate: Tensor = self.out(self.decoder(kept))
        return estimate


def frame_kernel(stride: int, overlap: int) -> int:
    """Kernel of one learned frame: it reaches `overlap` strides to either side of its centre."""
    return 2 * overlap * stride + 1


def frame_encoder(n_channels: int, n_filters: int, stride: int, overlap: int) -> SameConv:
    """One strided convolution: a learned, overlapping short-time transform of all channels together."""
    return SameConv(n_channels, n_filters, frame_kernel(stride, overlap), stride)


def frame_decoder(n_filters: int, stride: int, overlap: int) -> UpConv:
    """The transposed convolution back to one channel."""
    return UpConv(n_filters, 1, frame_kernel(stride, overlap), stride)
