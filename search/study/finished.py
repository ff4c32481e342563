"""Whether a search is over, and why."""

from optuna.trial import TrialState
from sqlalchemy import Engine

from search.queue.slots import progress
from search.sampling.points import MAX_LISTED, n_points
from search.study.record import AnyStudy

EXHAUSTED = "every point of its space has been tried"


def why_over(search: AnyStudy, engine: Engine) -> str:
    """Why no trial of the study starts any more; "" where one would, or where one is under way."""
    state = progress(engine, search.name)
    if state.open or state.claimed:
        return ""
    if state.finished >= state.budget:
        return f"its budget of {state.budget} trials is spent"
    if state.late:
        return f"its {search.hours:g} hours are over"
    trials = search.study.get_trials(deepcopy=False)
    if any(trial.state in (TrialState.WAITING, TrialState.RUNNING) for trial in trials):
        return ""
    # A study is made only where a point exists; and a space that has a part without end is without end.
    sampled = next((trial.distributions for trial in reversed(trials) if trial.distributions), None)
    size = None if sampled is None else n_points(sampled)
    if size is None or size > MAX_LISTED:
        return ""
    # only for these few: the points are tried on the model's own config
    from search.study.study import decoded
    from search.worker.assign import is_exhausted

    return EXHAUSTED if is_exhausted(decoded(search), trials) else ""
