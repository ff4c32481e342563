"""Whether a study is finished: its budget is spent, its time is over, or every point was tried."""

from optuna.trial import TrialState
from sqlalchemy import Engine

from search.queue.slots import progress
from search.sampling.points import MAX_ENUMERATED, n_points
from search.study.record import StudyLike

EXHAUSTED = "every point of its space has been tried"


def stop_reason(study: StudyLike, engine: Engine) -> str:
    """Return why no further trial of the study will start; "" where the study is not finished."""
    state = progress(engine, study.identity)
    if state.open or state.claimed:
        return ""
    if state.finished >= state.budget:
        return f"its budget of {state.budget} trials is spent"
    if state.out_of_time:
        return f"its {study.hours:g} hours are over"
    trials = study.optuna.get_trials(deepcopy=False)
    if any(trial.state == TrialState.WAITING for trial in trials):
        return ""  # running trials are another program's, for no slot is claimed; their end may never come
    # A study is created only if a point exists, and a space with one continuous axis is infinite.
    sampled = next((trial.distributions for trial in reversed(trials) if trial.distributions), None)
    size = None if sampled is None else n_points(sampled)
    if size is None or size > MAX_ENUMERATED:
        return ""
    # Imported only where needed: points are checked against the model's config, which imports torch.
    from search.study.study import decode_study, is_exhausted

    return EXHAUSTED if is_exhausted(decode_study(study), trials) else ""
