"""Several writes to a trial as one."""

import contextlib
from collections.abc import Iterator

from optuna.storages import BaseStorage

from search.storage.fast.storage import LeanStorage


@contextlib.contextmanager
def together(storage: BaseStorage, trial_id: int) -> Iterator[None]:
    """What the block sets of the trial (params, attributes) is written when it ends, in one round trip a table.

    Reading trials in the block writes it first, so that nothing is ever read without it. On other storages each is
    written at once, as ever. Raises, at the block's end, what the writes would have raised.
    """
    if isinstance(storage, LeanStorage):
        with storage.holding(trial_id):
            yield
    else:
        yield
