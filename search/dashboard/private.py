"""The private names of optuna-dashboard that Drivebeat needs, and why. Check them at an upgrade of optuna-dashboard."""

# The parts of the answer about a study: ours is made of cached parts, and must have the same form.
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

# The cache of importances grows without end: it is emptied with the study that it is about.
from optuna_dashboard._importance import param_importance_cache, param_importance_cache_lock
from optuna_dashboard._inmemory_cache import _CachedExtraStudyProperty as CachedExtraStudyProperty
from optuna_dashboard._pareto_front import get_pareto_front_trials
from optuna_dashboard._serializer import (
    serialize_attrs,
    serialize_distribution,
    serialize_frozen_trial,
    serialize_study_detail,
)
from optuna_dashboard.preferential._study import _SYSTEM_ATTR_PREFERENTIAL_STUDY as PREFERENTIAL_STUDY

__all__ = [
    "PREFERENTIAL_STUDY",
    "CachedExtraStudyProperty",
    "get_pareto_front_trials",
    "get_plotly_graph_objects",
    "param_importance_cache",
    "param_importance_cache_lock",
    "serialize_attrs",
    "serialize_distribution",
    "serialize_frozen_trial",
    "serialize_study_detail",
]
