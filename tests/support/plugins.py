"""Sources of plug-ins for tests, and their removal from the tables that they register in."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models import DENOISERS
from training.plugins.kinds import KINDS
from training.plugins.load import PREFIX, load_plugins
from training.plugins.plugin import Plugin, plugin_of

MODEL = '''"""A model of one convolution."""

from dataclasses import dataclass
from typing import Annotated

from optuna.distributions import IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.layers import SameConv, run_padded


class Net(nn.Module):
    def __init__(self, n_channels: int, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(SameConv(n_channels, width, 5), nn.GELU(), SameConv(width, 1, 5))

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.net, noisy, 1, margin_samples=8)


@register("NAME")
@dataclass(frozen=True, slots=True)
class Config(DenoiserConfig):
    width: Annotated[int, IntDistribution(4, 16)] = 8

    def build(self, n_channels: int = 1) -> nn.Module:
        return Net(n_channels, self.width)
'''
METRIC = '''"""The share of the clean signal's samples whose sign the estimate has."""

import torch

from objectives.metrics import in_float64, register_metric


@register_metric("NAME", unit="", direction="maximize", silence_wins=False)
def same_signs(estimate, noisy, clean):
    e, _, c = in_float64(estimate, noisy, clean)
    return torch.where(e.isfinite().all(-1), (e * c > 0).double().mean(-1), -1.0)
'''
SAMPLER = '''"""Optuna's random sampler."""

import optuna

from search.sampling.samplers import mixed, register_sampler


@register_sampler("NAME")
def build(spec, seed, slot):
    return optuna.samplers.RandomSampler(seed=mixed(seed, slot))
'''


def model_source(name: str = "one_layer", more: str = "") -> str:
    """Return the source of a model called `name`. more: lines at its end, which give it another SHA-256."""
    return MODEL.replace("NAME", name) + more


def model_plugin(name: str = "one_layer", more: str = "") -> Plugin:
    """Return the plug-in with that source."""
    return plugin_of(f"{name}.py", model_source(name, more))


def write_plugin(folder: Path, name: str, source: str) -> Path:
    """Write a plug-in's file into `folder`; return its path."""
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


def install(folder: Path, name: str, version: str, sources: Mapping[str, str], entries: Mapping[str, str]) -> None:
    """Write a distribution into `folder`, as an installer leaves it.

    sources: module -> its source. entries: group -> "entry = module" of its only entry point.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{entry}\n" for group, entry in entries.items()))
    for module, source in sources.items():
        (folder / f"{module}.py").write_text(source)


@contextmanager
def undone() -> Iterator[None]:
    """Remove what plug-ins have registered in the block, and their modules."""
    before, modules = {kind: dict(kind.table) for kind in KINDS}, set(sys.modules)
    try:
        yield
    finally:
        for kind in KINDS:
            kind.table.clear()
            kind.table.update(before.get(kind, kind.added_with))
        for name in set(sys.modules) - modules:
            if name.startswith(PREFIX):
                del sys.modules[name]


@contextmanager
def in_another_process(model: str) -> Iterator[None]:
    """Forget the executed plug-ins and the `model` of one of them in the block, as if another process ran it."""
    with undone():
        del DENOISERS[model]
        for name in [name for name in sys.modules if name.startswith(PREFIX)]:
            del sys.modules[name]
        yield


def load_trusted(*plugins: Plugin) -> None:
    """Execute plug-ins though no file says that they are trusted."""
    load_plugins(plugins, "best.yaml", allowed=[plugin.sha256 for plugin in plugins])


def made(model: str, **settings: Any) -> Any:
    """Make the config of a registered model."""
    return DENOISERS[model](**settings)


HASH = model_plugin().sha256
FAST = {"batch_size": 8, "steps_per_epoch": 3, "gain_ramp": "none"}


def not_trusted(where: str, target: str) -> str:
    """Return the refusal of the model's plug-in; target: the words after `drivebeat trust`."""
    return (
        f"{where}: plug-in one_layer.py (SHA-256 {HASH[:12]}) is not trusted on this machine; read it with --show, "
        f"then trust it: drivebeat trust {target}"
    )


def forget(trusted: Path) -> None:
    """Be a machine that trusts nothing."""
    trusted.unlink()
