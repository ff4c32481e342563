"""The command line: its commands, and how a user's mistake is told. Heavy imports wait inside the commands."""

import os
import sys
from typing import Any

import typer

from search.cli.data import data_app
from search.cli.report import compare_command, report_command
from search.cli.runs import apply_command, evaluate_command, train_command
from search.cli.service import dashboard_command, doctor_command, storage_app, watch_command, workers_command
from search.cli.studies import (
    create_command,
    export_command,
    init_command,
    launch_command,
    show_command,
    work_command,
)

app = typer.Typer(
    name="drivebeat",
    help="Search, train and judge neural denoisers that recover heart sounds from a moving car.",
    epilog="\b\n"
    "From recordings to a cleaned one:\n"
    "  drivebeat data info recording.mat\n"
    "  drivebeat create search/studies/demo.toml\n"
    "  drivebeat launch demo --workers 2\n"
    "  drivebeat export demo -o best.yaml\n"
    "  drivebeat train best.yaml -o runs/best\n"
    "  drivebeat evaluate runs/best\n"
    "  drivebeat apply runs/best recording.mat -o estimate.wav",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _enter(panel: str, name: str, command: Any, *examples: str) -> None:
    epilog = "\n".join(("\b", "Examples:", *(f"  drivebeat {example}" for example in examples)))
    app.command(name, rich_help_panel=panel, epilog=epilog)(command)


app.add_typer(data_app, name="data", rich_help_panel="Recordings")
SEARCH, RUN = "Search", "One run"
_enter(SEARCH, "create", create_command, "create search/studies/demo.toml")
_enter(
    SEARCH,
    "launch",
    launch_command,
    "launch demo --workers 4",
    "launch demo --per-gpu 2 --storage postgresql://me@host/studies",
    "launch demo --launcher ray --ray-address 10.0.0.1:6379 --workers 16",
    "launch demo --launcher slurm --workers 8 --slurm partition=gpu --slurm gpus_per_node=1",
)
_enter(SEARCH, "work", work_command, "work demo --threads 4", "work demo-wave_unet demo-autoencoder")
_enter(SEARCH, "watch", watch_command, "watch demo", "watch demo --once --json", "watch demo | tee search.log")
_enter(SEARCH, "workers", workers_command, "workers", "workers --json")
_enter(
    SEARCH,
    "show",
    show_command,
    "show",
    "show demo",
    "show --models",
    "show --model tf_mask --rate-hz 1000 --window-samples 5120",
    "show all_families --across",
)
_enter(SEARCH, "export", export_command, "export demo -o best.yaml")
_enter(
    SEARCH,
    "dashboard",
    dashboard_command,
    "dashboard --port 8080",
    "dashboard --host 0.0.0.0 --password-file dashboard.passwords",
)
_enter(
    SEARCH,
    "report",
    report_command,
    "report demo -o report.html",
    "report all_families --run runs/best --figures figures",
    "report demo --format md -o report.md",
)
_enter(SEARCH, "init", init_command, "init --storage postgresql://me@host/studies")
_enter(SEARCH, "doctor", doctor_command, "doctor", "doctor demo", "doctor search/studies/demo.toml --json")
app.add_typer(storage_app, name="storage", rich_help_panel=SEARCH)
_enter(RUN, "train", train_command, "train best.yaml -o runs/best", "train best.yaml -o runs/long --epochs 200")
_enter(
    RUN, "evaluate", evaluate_command, "evaluate runs/best", "evaluate runs/best --data other.toml -o runs/best/other"
)
_enter(
    RUN,
    "compare",
    compare_command,
    "compare runs/best runs/other",
    "compare runs/best --classical -o runs/best/compare",
    "compare runs/a runs/b --data other.toml --json",
)
_enter(
    RUN,
    "apply",
    apply_command,
    "apply runs/best drive.wav -o estimate.wav",
    "apply runs/best drive.mat --channels ch1z,ch2z -o estimate.mat",
)


def main() -> None:
    """Run the command line: a user's mistake is one line on stderr and exit code 2, never a traceback.

    DRIVEBEAT_DEBUG=1 shows the traceback all the same.
    """
    try:
        code: Any = app(standalone_mode=False, prog_name="drivebeat")
    except typer.Exit as end:
        code = end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if os.environ.get("DRIVEBEAT_DEBUG"):
            raise
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int:
    """Say a user's mistake in one line; raise what is none."""
    message, code = "", 2
    # by shape and not by class: typer carries its own copy of click in some versions
    if hasattr(error, "format_message") and hasattr(error, "ctx"):
        said = error.format_message().strip().rstrip(".")
        if not said:  # no command at all: the help has been printed
            return 0
        message = f"{said}; see {error.ctx.command_path if error.ctx is not None else 'drivebeat'} --help"
    elif hasattr(error, "exit_code"):
        message, code = str(error), error.exit_code
    elif isinstance(error, ValueError | OSError):
        message = str(error)
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        message = f"out of memory: {error}; a smaller batch_size, a shorter window or another --device may help"
    elif type(error).__name__ == "TrainingFailed":
        message = f"training failed: {error}"
    if not message:
        raise error
    typer.echo(f"drivebeat: {' '.join(message.split())}", err=True)
    return code
