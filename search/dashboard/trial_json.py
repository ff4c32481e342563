"""Write a trial as JSON for the dashboard's API.

Parameters and intermediate values, which are most of the data of 10,000 trials, are written here. optuna-dashboard's
own serialiser writes everything else. Numbers have fewer digits than in the database, which halves the size of the
response. The CSV and the export have all digits.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from search.dashboard.private import serialize_attrs, serialize_distribution, serialize_frozen_trial
from search.trials import BEST_EPOCH, BY_SNR, RUN
from training.numbers import rounded

REPORT_DIGITS, PARAM_DIGITS, VALUE_DIGITS = 4, 6, 6
HIDDEN = frozenset({RUN, BY_SNR})  # long; the artifact run.yaml and the note show them
_encoded = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, eq=False)
class TrialWriter:
    """Writes trials of one study as JSON. Text that trials have in common is made once.

    Distributions are cached by id(), so a writer must not outlive the trials that it has written.

    study_id: Optuna's id of the study.
    first_epoch: number of the epoch that is stored as step 0. It is 1 for studies of Drivebeat, whose epochs are stored
    from 0 and shown from 1, and 0 for those of other programs, whose steps are shown as they are.
    """

    study_id: int
    first_epoch: int = 0
    _ends: dict[tuple[int, type], str] = field(default_factory=dict)
    _choices: dict[tuple[int, str, type, Any], str] = field(default_factory=dict)

    def json_of(self, trial: FrozenTrial, note: Mapping[str, Any], removed: bool) -> bytes:
        """Return the JSON of `trial`.

        note: the attributes of the study that hold the note of the trial.
        removed: whether its artifacts were removed; they are then left out.
        """
        rest = FrozenTrial.__new__(FrozenTrial)
        attributes = dict(trial._system_attrs)
        if not isinstance(attributes.get("fixed_params", {}), dict):  # another program's, on which the serialiser fails
            del attributes["fixed_params"]
        changed = {"_params": {}, "_distributions": {}, "intermediate_values": {}, "_system_attrs": attributes}
        rest.__dict__ = trial.__dict__ | changed
        document: dict[str, Any] = serialize_frozen_trial(self.study_id, rest, dict(note))
        del document["params"], document["intermediate_values"]
        # the serialiser does not know where Optuna 5 stores constraints
        document["constraints"] = list(trial.constraints.values())
        document["user_attrs"] = serialize_attrs(self._shown_attributes(trial))
        if removed:
            document["artifacts"] = []
        if "values" in document:
            document["values"] = [rounded(value, VALUE_DIGITS) for value in document["values"]]
        params = ",".join([self._param(k, v, trial._distributions[k]) for k, v in trial._params.items()])
        by_epoch = sorted((self.first_epoch + step, value) for step, value in trial.intermediate_values.items())
        reports = ",".join([_report(epoch, value) for epoch, value in by_epoch])
        return f'{_encoded(document)[:-1]},"params":[{params}],"intermediate_values":[{reports}]}}'.encode()

    def _shown_attributes(self, trial: FrozenTrial) -> dict[str, Any]:
        shown = {key: value for key, value in trial.user_attrs.items() if key not in HIDDEN}
        if isinstance(best_epoch := shown.get(BEST_EPOCH), int):
            shown[BEST_EPOCH] = self.first_epoch + best_epoch
        return shown

    def _param(self, name: str, value: Any, distribution: BaseDistribution) -> str:
        if type(value) is float and isinstance(distribution, FloatDistribution):
            number = repr(rounded(value, PARAM_DIGITS))
            return self._param_json(name, number, f'"{number}"', value, distribution)
        key = id(distribution), name, type(value), value
        if key not in self._choices:
            inner, shown = distribution.to_internal_repr(value), str(rounded(value, PARAM_DIGITS))
            self._choices[key] = self._param_json(name, repr(inner), _encoded(shown), value, distribution)
        return self._choices[key]

    def _param_json(self, name: str, inner: str, shown: str, value: Any, distribution: BaseDistribution) -> str:
        key = id(distribution), type(value)
        if key not in self._ends:
            end = {"param_external_pytyp": str(type(value)), "distribution": serialize_distribution(distribution)}
            self._ends[key] = _encoded(end)[1:]
        start = f'{{"name":{_encoded(name)},"param_internal_value":{inner},"param_external_value":{shown},'
        return start + self._ends[key]


def _report(epoch: int, value: float) -> str:
    shown = f"{value:.{REPORT_DIGITS}g}" if math.isfinite(value) else f'"{value}"'
    return f'{{"step":{epoch},"value":{shown}}}'
