"""Every error that a command turns into one line and exit code 2; any other exception is a bug of ours.

    UserError                   data.errors: the base
    ├── DataError               data.errors: a recording
    ├── FileError (OSError)     data.errors: a file or folder that cannot be written or read
    ├── ConfigError             training.errors: a document, an option, a variable
    │   └── CheckpointError     training.errors: a checkpoint or weights file
    ├── TrainingFailed          training.errors: a run that cannot go on
    ├── OutOfMemory             training.errors: too little memory
    ├── StudyError              a study that is not there, or not as it should be
    ├── StorageError            a database
    ├── ArtifactError           a store of artifacts
    ├── LaunchError             workers that cannot be launched, or ended early
    └── WorkerError             a worker that gives up

Each layer defines its own, for imports go right only: search -> training -> data.
"""

from data.errors import DataError as DataError
from data.errors import FileError as FileError
from data.errors import UserError as UserError
from training.errors import CheckpointError as CheckpointError
from training.errors import ConfigError as ConfigError
from training.errors import OutOfMemory as OutOfMemory
from training.errors import TrainingFailed as TrainingFailed


class StudyError(UserError):
    """A study that is not there, or not as it should be."""


class StorageError(UserError):
    """A database that cannot be used; the message never holds a password."""


class ArtifactError(UserError):
    """A store of artifacts that cannot be used as it was named."""


class LaunchError(UserError):
    """Workers that cannot be launched as asked, or ended before the budget was spent."""


class WorkerError(UserError):
    """A worker that gives up; the message says why."""
