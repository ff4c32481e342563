"""Errors of one run; search.errors draws the whole tree."""

from data.errors import UserError


class ConfigError(UserError):
    """A document, an option or a variable that cannot become a config."""


class CheckpointError(ConfigError):
    """A checkpoint or weights file that cannot be used."""


class TrainingFailed(UserError):
    """A run that cannot go on; the message is the reason."""


class OutOfMemory(UserError):
    """The device or the host has too little memory for what was asked."""
