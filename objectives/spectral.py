"""Multi-resolution STFT loss: magnitudes compared at several window lengths."""

import torch
from torch import Tensor, nn

# Log magnitudes are read over a floor 40 dB below the clean window's RMS magnitude. In band-passed recordings most
# bins hold only leakage far below the heart sounds; without a floor they would make up most of the loss.
FLOOR_SHARE = 0.01


# A clean window with less energy is silent: signals lie within (-1, 1), and float32 needs the room below.
AUDIBLE_ENERGY = 1e-16


class MultiResolutionStft(nn.Module):
    """Spectral convergence plus log-magnitude L1, mean over resolutions (Yamamoto et al., Parallel WaveGAN, 2020).

    For each Hann window of `windows_samples`, at hops of a quarter window, with |E| and |C| the magnitudes:
    norm(|E| - |C|) / norm(|C|) + mean |ln((|E| + f) / (|C| + f))|. As in the paper but for two things: both are
    taken per window of the batch, so that a loss does not depend on who shares the batch, and the floor f is 1 % of
    the RMS of |C|, where the paper has a fixed tiny one. The signal is padded with half a window of zeros at both
    ends, so any length will do, shorter than the STFT window too. Magnitudes are blind to polarity and have no slope
    at silence: use it beside a term on the waveform. A silent clean window adds 0.
    """

    def __init__(self, windows_samples: tuple[int, ...]) -> None:
        super().__init__()
        self.windows_samples = windows_samples
        for n in windows_samples:
            self.register_buffer(f"hann_{n}", torch.hann_window(n), persistent=False)

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Scalar of two Tensor[batch, 1, time]."""
        audible = clean.square().sum(dim=(-2, -1)) > AUDIBLE_ENERGY
        # A stand-in for silent windows keeps their unused terms finite: 0 times infinity would reach the gradient.
        safe_clean = torch.where(audible[:, None, None], clean, 1.0)
        per_window = [self._distance(estimate, safe_clean, n) for n in self.windows_samples]
        return torch.where(audible, torch.stack(per_window).mean(dim=0), 0.0).mean()

    def _distance(self, estimate: Tensor, clean: Tensor, n: int) -> Tensor:
        """Tensor[batch]: the two terms at a window of n samples."""
        e, c = self._magnitude(estimate, n), self._magnitude(clean, n)
        error: Tensor = torch.linalg.vector_norm(e - c, dim=(-2, -1))
        level: Tensor = torch.linalg.vector_norm(c, dim=(-2, -1))
        floor = FLOOR_SHARE * c.square().mean(dim=(-2, -1), keepdim=True).sqrt()
        log_magnitude = ((e + floor) / (c + floor)).log().abs().mean(dim=(-2, -1))
        return error / level + log_magnitude

    def _magnitude(self, signal: Tensor, n: int) -> Tensor:
        """Tensor[batch, 1, time] to Tensor[batch, bin, frame]."""
        hann = self.get_buffer(f"hann_{n}").to(signal.dtype)
        # Zeros rather than reflections at the ends: they need no minimal length, and their backward is deterministic.
        spectrum = torch.stft(
            signal.squeeze(1), n, hop_length=n // 4, window=hann, center=True, pad_mode="constant", return_complex=True
        )
        return spectrum.abs()
