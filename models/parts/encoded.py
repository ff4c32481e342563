"""Denoisers on a learned encoding at a lower rate: encoder, body, optional mask, decoder."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from models.parts.layers import OUTPUTS, Output, SameConv, UpConv, run_padded
from models.parts.streaming import LEVEL_FLOOR, Carry, Reach, moving_mean, run_causal

Mask = Literal["sigmoid", "relu", "none"]

MASKS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "relu": torch.relu}


class EncodedDenoiser(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time].

    `encoder` maps [batch, n_channels, stride * steps] to [batch, n_filters, steps], `body` keeps that shape, and
    `decoder` maps it to [batch, 1, stride * steps]. With a mask, the body's output goes through the mask's function and
    multiplies the encoding; with "none" it replaces the encoding. Both ends are extended by `n_margin` steps of
    reflected signal, so that the overlapping steps of the decoder are complete there.
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
        """Return the estimate of windows whose length is a multiple of the stride."""
        encoded = self.encoder(noisy)
        kept = self.body(encoded)
        if self.mask != "none":
            kept = encoded * MASKS[self.mask](kept)
        estimate: Tensor = self.out(self.decoder(kept))
        return estimate


class CausalEncoded(nn.Module):
    """The causal form of an EncodedDenoiser with the encoder and decoder of frames: a Core of models.parts.streaming.

    A step of the encoder sees the samples up to the end of its block. The body sees the encoding over its level in the
    past, and encoder and decoder add nothing, so the estimate grows with the signal. The body's output at a step is of
    the step `lookahead` before.
    """

    def __init__(self, net: EncodedDenoiser, reach: Reach) -> None:
        super().__init__()
        self.net, self.block = net, net.stride
        self.past, self.lookahead = reach.past(net.stride), reach.lookahead(net.stride)
        self.tail = frame_kernel(net.stride, net.n_margin) - net.stride
        self.delay = self.tail + self.lookahead * net.stride
        for conv in self._convs:
            conv.bias = None

    @property
    def _convs(self) -> tuple[nn.Conv1d, nn.ConvTranspose1d]:
        """Return the convolutions of encoder and decoder, which run without their padding here."""
        assert isinstance(self.net.encoder, SameConv) and isinstance(self.net.decoder, UpConv)
        return self.net.encoder.conv, self.net.decoder.conv

    def run_blocks(self, noisy: Tensor, carry: Carry) -> Tensor:
        encode, decode = self._convs
        encoded = encode(carry.extend(noisy, self.tail))
        power = encoded.float().square().mean(dim=1, keepdim=True)
        level = moving_mean(power, self.past, carry).add(LEVEL_FLOOR).sqrt()
        kept = run_causal(self.net.body, encoded / level, self.past, carry)
        n_steps = encoded.shape[-1]
        if self.net.mask == "none":
            kept = kept * level
        else:
            kept = carry.extend(encoded, self.lookahead)[..., :n_steps] * MASKS[self.net.mask](kept)
        return carry.overlap(decode(kept).float(), self.tail)


def frame_kernel(stride: int, overlap: int) -> int:
    """Return the kernel of a learned frame, which reaches `overlap` strides to both sides of its centre."""
    return 2 * overlap * stride + 1


def frame_encoder(n_channels: int, n_filters: int, stride: int, overlap: int) -> SameConv:
    """Build a strided convolution: a learned, overlapping short-time transform of all channels together."""
    return SameConv(n_channels, n_filters, frame_kernel(stride, overlap), stride)


def frame_decoder(n_filters: int, stride: int, overlap: int) -> UpConv:
    """Build the transposed convolution back to one channel."""
    return UpConv(n_filters, 1, frame_kernel(stride, overlap), stride)
