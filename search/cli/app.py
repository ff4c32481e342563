"""The command line: its commands, and how a user's mistake is told. Heavy imports wait inside the commands."""

import os
import sys
import traceback
from importlib.metadata import version
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
from search.errors import UserError

ISSUES = "https://github.com/drivebeat/drivebeat/issues"

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
    """Run the command line.

    A UserError (search.errors) is one line on stderr and exit code 2, as is a wrong option. Any other exception is a
    bug of ours: its traceback with where to report it, exit code 1. DRIVEBEAT_DEBUG=1 shows every traceback.
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
    except UserError as error:
        if os.environ.get("DRIVEBEAT_DEBUG"):
            raise
        code = _say(str(error), 2)
    except Exception as error:
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str, code: int) -> int:
    typer.echo(f"drivebeat: {' '.join(message.split())}", err=True)
    return code


def _explain(error: Exception) -> int:
    """Say a mistake in the command's options, as the option parser reports it; else show the bug."""
    # by shape and not by class: typer carries its own copy of click in some versions
    if hasattr(error, "format_message") and hasattr(error, "ctx"):
        said = error.format_message().strip().rstrip(".")
        if not said:  # no command at all: the help has been printed
            return 0
        return _say(f"{said}; see {error.ctx.command_path if error.ctx is not None else 'drivebeat'} --help", 2)
    if hasattr(error, "exit_code") and hasattr(error, "show"):
        return _say(str(error), error.exit_code)
    traceback.print_exception(error)
    return _say(f"this is a bug in Drivebeat {version('drivebeat')}; please report the lines above: {ISSUES}", 1)
