"""Errors of a run. The docstring of search.errors shows the whole tree."""

from data.errors import UserError


class ConfigError(UserError):
    """A document, an option or an environment variable that does not make a valid config."""


class PluginError(ConfigError):
    """A plug-in that is missing, not trusted on this machine, or that cannot be loaded."""


class CheckpointError(ConfigError):
    """A checkpoint or weights file that cannot be used."""


class TrainingFailed(UserError):
    """A run that cannot continue; the message says why."""


class OutOfMemory(UserError):
    """The device or the host has too little memory for the run."""
