"""The launchers by name, and what is common to all: when a worker that died gets a successor."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.launch.base import Launcher, LaunchError, Seat
from search.launch.local import local_workers
from search.launch.ray import ray_workers
from search.launch.slurm import slurm_workers
from training.decode import near

LAUNCHERS: Mapping[str, Launcher] = {"local": local_workers, "ray": ray_workers, "slurm": slurm_workers}

MAX_RESTARTS = 5
FIRST_PAUSE_S = 1.0
# A successor that has worked for so long starts the count anew: a search of a week outlives more deaths.
STEADY_S = 600.0
# What a worker that gave up for a stated reason exits with: another one would do the same.
GAVE_UP = 2


@dataclass(slots=True, eq=False)
class Watched:
    """A seat, how often its worker died, and since when its last successor has been there."""

    seat: Seat
    restarts: int = 0
    restart_at: float | None = None
    since: float | None = None

    @property
    def crashed(self) -> bool:
        """Ended neither by itself nor at somebody's request: killed, or by an error nobody foresaw."""
        return self.seat.exit_code() not in (None, 0, GAVE_UP)

    @property
    def at_work(self) -> bool:
        """Whether a worker is there, or is going to be again."""
        code = self.seat.exit_code()
        return code is None or (code not in (0, GAVE_UP) and self.restarts < MAX_RESTARTS)


def launcher(name: str) -> Launcher:
    """The launcher called `name`. Raises LaunchError, naming the near one."""
    if name not in LAUNCHERS:
        raise LaunchError(f"no launcher {name!r}{near(name, LAUNCHERS)}; known: {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]


def watch(seats: Iterable[Seat]) -> list[Watched]:
    """The seats, to be watched."""
    return [Watched(seat) for seat in seats]


def revive(watched: Sequence[Watched], now: float) -> list[Watched]:
    """Fill seats whose workers crashed, after 1, 2, 4 ... s, each at most MAX_RESTARTS times without STEADY_S of work
    in between; those that were filled.
    """
    started = []
    for place in watched:
        if place.since is not None and now - place.since > STEADY_S and place.seat.exit_code() is None:
            place.restarts, place.since = 0, None
        if not place.crashed or place.restarts >= MAX_RESTARTS:
            continue
        if place.restart_at is None:
            place.restart_at = now + FIRST_PAUSE_S * 2**place.restarts
        elif now >= place.restart_at:
            place.seat.restart()
            place.restarts += 1
            place.restart_at, place.since = None, now
            started.append(place)
    return started
