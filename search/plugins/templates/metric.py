"""my_metric: a score of your own. Here it is the likeness of the rectified signals; change what you like.

    drivebeat check my_metric.py             # does it keep the contract? each failure says what to do
    plugins = ["my_metric.py"]               # in a study file, with metric = "my_metric"

A plug-in is one file. It may import Drivebeat's packages and whatever is installed where it runs. A score that needs
the rate or the heart rate is registered by training.evaluation.scores.register_score.
"""

import torch
from torch import Tensor

from objectives.metrics import in_float64, register_metric


# silence_wins: whether an all-zero estimate beats the noisy input at -10 dB. A study cannot choose models by such a
# metric; `drivebeat check` measures it.
@register_metric("my_metric", unit="", direction="maximize", silence_wins=False)
def my_metric(estimate: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
    """Return the cosine of |estimate| and |clean|, [..., time] -> float64[...]; -1 if the estimate is not finite."""
    e, _, c = in_float64(estimate, noisy, clean)  # refuses shapes that would broadcast
    norms = torch.linalg.vector_norm(e, dim=-1) * torch.linalg.vector_norm(c, dim=-1)
    cosine = (e.abs() * c.abs()).sum(dim=-1) / torch.where(norms > 0, norms, 1.0)
    return torch.where(torch.isfinite(norms), cosine, -1.0)
