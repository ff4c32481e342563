"""All private names of Optuna that Drivebeat uses, and why. Check them when Optuna is upgraded."""

# The protocol of an artifact store: optuna.artifacts exports its implementations only.
from optuna.artifacts._protocol import ArtifactStore

# The steps at which a PercentilePruner decides: the fast pruner decides at the same ones.
from optuna.pruners._percentile import _is_first_in_interval_step as is_first_in_interval_step

# The cache around an RDBStorage that get_storage returns: the dashboard's cache is a subclass.
from optuna.storages._cached_storage import _CachedStorage as CachedStorage

# Optuna's tables and its encoding of numbers: the fast storage and the dashboard read and write the same rows.
from optuna.storages._rdb import models

# The type that BaseStorage.get_all_studies returns.
from optuna.study._frozen import FrozenStudy

__all__ = ["ArtifactStore", "CachedStorage", "FrozenStudy", "is_first_in_interval_step", "models"]
