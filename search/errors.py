"""The errors that a command reports in one line with exit code 2. Any other exception is a bug.

    UserError                   data.errors: the base
    ├── DataError               data.errors: a recording
    │   ├── NoRecording         data.errors: a path or pattern that names no recording
    │   └── NoChannel           data.errors: a recording without a channel that was named
    ├── FileError (OSError)     data.errors: a file or folder that cannot be written or read
    ├── ConfigError             training.errors: a config file, an option, an environment variable
    │   ├── CheckpointError     training.errors: a checkpoint or weights file
    │   └── PluginError         training.errors: a plug-in that is not trusted or cannot be loaded
    ├── TrainingFailed          training.errors: a training that cannot continue
    ├── OutOfMemory             training.errors: too little memory
    ├── StudyError              a study that is missing, or has other settings
    │   ├── StudyGone           a study that was deleted while it was used
    │   └── NoBudget            a study without a budget in this database
    ├── StorageError            a database
    ├── ArtifactError           an artifact store
    ├── LaunchError             workers that cannot be launched, or ended early
    └── WorkerError             a worker that stops before its studies are finished

Each package defines its own errors, for search imports training, and training imports data.
"""

from data.errors import DataError as DataError
from data.errors import FileError as FileError
from data.errors import UserError as UserError
from training.errors import CheckpointError as CheckpointError
from training.errors import ConfigError as ConfigError
from training.errors import OutOfMemory as OutOfMemory
from training.errors import PluginError as PluginError
from training.errors import TrainingFailed as TrainingFailed


class StudyError(UserError):
    """A study is missing, or has other settings than expected."""


class StudyGone(StudyError):
    """A study was deleted, or deleted and created again, since it was loaded."""


class NoBudget(StudyError):
    """No budget is stored for a study: another program has copied it, or its rows were removed."""


class StorageError(UserError):
    """A database cannot be used. The message contains no password."""


class ArtifactError(UserError):
    """An artifact store cannot be opened."""


class LaunchError(UserError):
    """Workers cannot be launched, or ended before the budget was spent."""


class WorkerError(UserError):
    """A worker stops before its studies are finished. The message says why."""
