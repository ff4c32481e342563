"""The exit codes of the command `drivebeat`. docs/guide/machines.md lists them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended. A command that a signal stops ends with 128 + the number of the signal."""

    DONE = 0
    BROKEN = 1  # a bug in Drivebeat, a problem that `doctor` found, or a reader of the output that has gone
    REFUSED = 2  # a mistake of the user, or a part of the work that failed for a stated reason
    HUNG = 75  # EX_TEMPFAIL of sysexits.h: a worker whose trial hung; the launcher starts another worker
    HUNG_UP = 129  # SIGHUP: the terminal was closed
    INTERRUPTED = 130  # SIGINT: Ctrl-C
    TERMINATED = 143  # SIGTERM
