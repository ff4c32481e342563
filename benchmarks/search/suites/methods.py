"""The search methods that are compared on suites: those of benchmarks.search.methods, and ASHA with promotion."""

import optuna

from benchmarks.search.methods import methods, optunas
from benchmarks.search.replay import Method
from benchmarks.search.suites.pool import Pool
from benchmarks.search.suites.replay import PromotingScheduler, Scheduler, Starter, StoppingScheduler, SuiteMethod

OURS = "Drivebeat defaults"
ROWS = (
    "random, unpruned",
    "Optuna TPE, unpruned",
    "Optuna defaults",
    "Optuna TPE + Hyperband",
    "ASHA with promotion, random",
    OURS,
)
"""What is compared where no methods are named."""


def stopping(method: Method) -> SuiteMethod:
    """A method of benchmarks.search on a pool; whatever its pruner stops is not resumed."""

    def start(pool: Pool, seed: int) -> Scheduler:
        return StoppingScheduler(Starter(pool, *method.start(pool, seed)), method.stopped_counts)

    return SuiteMethod(method.name, start)


def promoting(method: Method) -> SuiteMethod:
    """ASHA with promotion, for which the study of `method` proposes new points."""

    def start(pool: Pool, seed: int) -> Scheduler:
        return PromotingScheduler(Starter(pool, *method.start(pool, seed)), pool.n_epochs)

    return SuiteMethod(method.name, start)


def suite_methods() -> dict[str, SuiteMethod]:
    """By the name that stands in the tables. The grid is left out: a pool has none."""
    known = [stopping(method) for name, method in methods().items() if not name.startswith("grid")]
    known += [
        promoting(optunas("ASHA with promotion, random", None, lambda seed: optuna.samplers.RandomSampler(seed=seed))),
        promoting(optunas("ASHA with promotion, TPE", None, lambda seed: optuna.samplers.TPESampler(seed=seed))),
    ]
    return {method.name: method for method in known}
