"""Defaults that the commands and the Python functions share."""

from pathlib import Path

ARTIFACTS = "artifacts"
LOGS = Path("runs/logs")
