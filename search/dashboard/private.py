"""The private names of optuna-dashboard that Drivebeat uses. Check them when optuna-dashboard is upgraded."""

# Parts of the response about a study, which cache.py makes from cached parts in the same form.
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

# The cache of importances is by study id, and must be cleared when an id is reused.
from optuna_dashboard._importance import param_importance_cache, param_importance_cache_lock
from optuna_dashboard._inmemory_cache import _CachedExtraStudyProperty as CachedExtraStudyProperty
from optuna_dashboard._pareto_front import get_pareto_front_trials
from optuna_dashboard._serializer import (
    serialize_attrs,
    serialize_distribution,
    serialize_frozen_study,
    serialize_frozen_trial,
    serialize_study_detail,
)

# The keys of attributes that describe artifacts, to know which exist.
from optuna_dashboard.artifact._backend import ARTIFACTS_ATTR_PREFIX, DASHBOARD_ARTIFACTS_ATTR_PREFIX
from optuna_dashboard.preferential._study import _SYSTEM_ATTR_PREFERENTIAL_STUDY as PREFERENTIAL_STUDY

__all__ = [
    "ARTIFACTS_ATTR_PREFIX",
    "DASHBOARD_ARTIFACTS_ATTR_PREFIX",
    "PREFERENTIAL_STUDY",
    "CachedExtraStudyProperty",
    "get_pareto_front_trials",
    "get_plotly_graph_objects",
    "param_importance_cache",
    "param_importance_cache_lock",
    "serialize_attrs",
    "serialize_distribution",
    "serialize_frozen_study",
    "serialize_frozen_trial",
    "serialize_study_detail",
]
