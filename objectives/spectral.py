"""Multi-resolution STFT loss, which compares magnitudes at several window lengths."""

import torch
from torch import Tensor, nn

# A floor 40 dB below the clean window's RMS magnitude is added to magnitudes before their logarithm. In band-passed
# recordings most bins hold only leakage far below the heart sounds; without a floor they would dominate the loss.
FLOOR_SHARE = 0.01
# A clean window with at most this energy is silent: signals lie within (-1, 1), and smaller energies underflow float32.
SILENT_ENERGY = 1e-16


class MultiResolutionStft(nn.Module):
    """Spectral convergence plus log-magnitude L1, averaged over resolutions (Yamamoto et al., Parallel WaveGAN, 2020).

    For each Hann window of `windows_samples` samples, at hops of a quarter of it, with magnitudes |E| and |C|, the loss
    is norm(|E| - |C|) / norm(|C|) + mean |ln((|E| + f) / (|C| + f))|. Unlike in the paper, both terms are computed
    for each window of the batch, so that its loss does not depend on the other windows, and the floor f is 1 % of the
    RMS of |C| instead of a tiny constant.

    The signal is padded with half an STFT window of zeros at both ends, so any length is allowed. Magnitudes do not
    depend on polarity and have no gradient at silence: combine this loss with a term on the waveform. A silent clean
    window contributes 0.
    """

    def __init__(self, windows_samples: tuple[int, ...]) -> None:
        super().__init__()
        self.windows_samples = windows_samples
        for n in windows_samples:
            self.register_buffer(f"hann_{n}", torch.hann_window(n), persistent=False)

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Return the scalar loss of two Tensor[batch, 1, time]."""
        has_signal = clean.square().sum(dim=(-2, -1)) > SILENT_ENERGY
        # Silent windows are replaced so that their unused terms are finite; otherwise their gradient would be NaN.
        safe_clean = torch.where(has_signal[:, None, None], clean, 1.0)
        per_window = [self._distance(estimate, safe_clean, n) for n in self.windows_samples]
        return torch.where(has_signal, torch.stack(per_window).mean(dim=0), 0.0).mean()

    def _distance(self, estimate: Tensor, clean: Tensor, n: int) -> Tensor:
        """Return the sum of the two terms for STFT windows of n samples, Tensor[batch]."""
        e, c = self._magnitude(estimate, n), self._magnitude(clean, n)
        error: Tensor = torch.linalg.vector_norm(e - c, dim=(-2, -1))
        level: Tensor = torch.linalg.vector_norm(c, dim=(-2, -1))
        floor = FLOOR_SHARE * c.square().mean(dim=(-2, -1), keepdim=True).sqrt()
        log_magnitude = ((e + floor) / (c + floor)).log().abs().mean(dim=(-2, -1))
        return error / level + log_magnitude

    def _magnitude(self, signal: Tensor, n: int) -> Tensor:
        """Return the STFT magnitudes Tensor[batch, bin, frame] of Tensor[batch, 1, time]."""
        hann = self.get_buffer(f"hann_{n}").to(signal.dtype)
        # Padded with zeros instead of reflections, which need a minimum length and have no deterministic gradient.
        spectrum = torch.stft(
            signal.squeeze(1), n, hop_length=n // 4, window=hann, center=True, pad_mode="constant", return_complex=True
        )
        return spectrum.abs()
