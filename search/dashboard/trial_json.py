"""A trial as the dashboard's API tells it, in JSON.

optuna-dashboard's own serialiser tells what there is little of, whatever its version adds; parameters and reports,
which are most of ten thousand trials, are written here. The page's numbers have fewer digits than the database's,
which halves what goes over the wire; the CSV and the export have them all.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from search.dashboard.private import serialize_attrs, serialize_distribution, serialize_frozen_trial
from search.trials import BY_SNR, RUN
from training.numbers import rounded

REPORT_DIGITS, PARAM_DIGITS, VALUE_DIGITS = 4, 6, 6
HIDDEN = frozenset({RUN, BY_SNR})  # long documents: the artifact run.yaml and the note show them
_encoded = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, eq=False)
class TrialWriter:
    """Writes trials of one study as JSON; what many of them repeat is written once.

    It knows distributions by identity, so it must not outlive the trials that it is given.
    """

    study_id: int
    _ends: dict[tuple[int, type], str] = field(default_factory=dict)
    _choices: dict[tuple[int, str, type, Any], str] = field(default_factory=dict)

    def json_of(self, trial: FrozenTrial, note: Mapping[str, Any], removed: bool) -> bytes:
        """`trial` with its `note`, attributes of the study's, and without artifacts where they were `removed`."""
        rest = FrozenTrial.__new__(FrozenTrial)
        rest.__dict__ = {**trial.__dict__, "_params": {}, "_distributions": {}, "intermediate_values": {}}
        told: dict[str, Any] = serialize_frozen_trial(self.study_id, rest, dict(note))
        del told["params"], told["intermediate_values"]
        # where Optuna 5 keeps them, which the serialiser does not know
        told["constraints"] = list(trial.constraints.values())
        told["user_attrs"] = serialize_attrs({k: v for k, v in trial.user_attrs.items() if k not in HIDDEN})
        if removed:
            told["artifacts"] = []
        if "values" in told:
            told["values"] = [rounded(value, VALUE_DIGITS) for value in told["values"]]
        params = ",".join([self._param(k, v, trial._distributions[k]) for k, v in trial._params.items()])
        reports = ",".join([_report(step, value) for step, value in sorted(trial.intermediate_values.items())])
        return f'{_encoded(told)[:-1]},"params":[{params}],"intermediate_values":[{reports}]}}'.encode()

    def _param(self, name: str, value: Any, distribution: BaseDistribution) -> str:
        if type(value) is float and isinstance(distribution, FloatDistribution):
            number = repr(rounded(value, PARAM_DIGITS))
            return self._told(name, number, f'"{number}"', value, distribution)
        key = id(distribution), name, type(value), value
        if key not in self._choices:
            inner, shown = distribution.to_internal_repr(value), str(rounded(value, PARAM_DIGITS))
            self._choices[key] = self._told(name, repr(inner), _encoded(shown), value, distribution)
        return self._choices[key]

    def _told(self, name: str, inner: str, shown: str, value: Any, distribution: BaseDistribution) -> str:
        key = id(distribution), type(value)
        if key not in self._ends:
            end = {"param_external_pytyp": str(type(value)), "distribution": serialize_distribution(distribution)}
            self._ends[key] = _encoded(end)[1:]
        start = f'{{"name":{_encoded(name)},"param_internal_value":{inner},"param_external_value":{shown},'
        return start + self._ends[key]


def _report(step: int, value: float) -> str:
    shown = f"{value:.{REPORT_DIGITS}g}" if math.isfinite(value) else f'"{value}"'
    return f'{{"step":{step},"value":{shown}}}'
