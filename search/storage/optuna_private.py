"""The private names of Optuna that Drivebeat needs, and why no public name will do. Check them at an upgrade of
Optuna.
"""

# The type of a store of artifacts: optuna.artifacts exports its implementations only.
from optuna.artifacts._protocol import ArtifactStore

# The steps at which a percentile pruner judges: the fast pruner judges at the same ones.
from optuna.pruners._percentile import _is_first_in_interval_step as is_first_in_interval_step

# The cache around an RDBStorage, as get_storage makes it: the dashboard's own cache derives from it.
from optuna.storages._cached_storage import _CachedStorage as CachedStorage

# Optuna's tables, and how it writes numbers into them: the fast storage and the dashboard read and write the same rows.
from optuna.storages._rdb import models

# The value that BaseStorage.get_all_studies returns.
from optuna.study._frozen import FrozenStudy

__all__ = ["ArtifactStore", "CachedStorage", "FrozenStudy", "is_first_in_interval_step", "models"]
