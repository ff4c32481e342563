"""The command line: the list of commands, and the error handling.

Commands import slow modules in their functions, so that --help is fast.
"""

import errno
import io
import logging
import os
import signal
import sys
import traceback
from importlib.metadata import version
from typing import Annotated, Any

import typer

from data.errors import printable
from search.cli.apply import apply_command
from search.cli.data import data_app
from search.cli.export_model import export_model_command
from search.cli.interrupted import print_next
from search.cli.live import live_command
from search.cli.manage import (
    adopt_command,
    cancel_command,
    copy_command,
    delete_command,
    enqueue_command,
    rename_command,
)
from search.cli.plugins import check_command, new_command, trust_command
from search.cli.pretrained import pretrained_command
from search.cli.report import compare_command, report_command
from search.cli.runs import evaluate_command, train_command
from search.cli.schema import schema_command
from search.cli.service import dashboard_command, doctor_command, storage_app, watch_command, workers_command
from search.cli.show import show_command
from search.cli.studies import create_command, export_command, init_command, launch_command, work_command
from search.errors import UserError
from search.exit_codes import ExitCode
from search.signals import Interrupted, recorded_interrupts
from training.extras import missing_package, needs

ISSUES = "https://github.com/drivebeat/drivebeat/issues"
FULL = (errno.ENOSPC, errno.EDQUOT)
MAX_CHARACTERS = 4000  # of an error's line; a foreign file can have names of any length

app = typer.Typer(
    name="drivebeat",
    help="Search, train and evaluate neural denoisers that recover heart sounds recorded in a moving car.",
    epilog="\b\n"
    "From recordings to a denoised recording:\n"
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


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"drivebeat {version('drivebeat')}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _add(panel: str, name: str, command: Any, *examples: str) -> None:
    """Add a command to a panel of the help, with examples below its help."""
    epilog = "\n".join(("\b", "Examples:", *(f"  drivebeat {example}" for example in examples)))
    app.command(name, rich_help_panel=panel, epilog=epilog)(command)


app.add_typer(data_app, name="data", rich_help_panel="Recordings")
SEARCH, MANAGE, RUN, PLUGINS = "Search", "Stored studies", "One run", "Plug-ins"
_add(SEARCH, "create", create_command, "create search/studies/demo.toml")
_add(
    SEARCH,
    "launch",
    launch_command,
    "launch demo --workers 4",
    "launch demo --per-gpu 2 --storage postgresql://me@host/studies",
    "launch demo --launcher ray --ray-address 10.0.0.1:6379 --workers 16",
    "launch demo --launcher slurm --workers 8 --slurm partition=gpu --slurm gpus_per_node=1",
)
_add(SEARCH, "work", work_command, "work demo --threads 4", "work demo-wave_unet demo-autoencoder")
_add(SEARCH, "watch", watch_command, "watch demo", "watch demo --once --json", "watch demo | tee search.log")
_add(SEARCH, "workers", workers_command, "workers", "workers --json")
_add(
    SEARCH,
    "show",
    show_command,
    "show",
    "show demo",
    "show demo --csv > trials.csv",
    "show --models",
    "show --model tf_mask --rate-hz 1000 --window-samples 5120",
    "show all_families --across",
)
_add(SEARCH, "export", export_command, "export demo -o best.yaml")
_add(
    SEARCH,
    "dashboard",
    dashboard_command,
    "dashboard --port 8080",
    "dashboard --host 0.0.0.0 --password-file dashboard.passwords",
)
_add(
    SEARCH,
    "report",
    report_command,
    "report demo -o report.html",
    "report all_families --run runs/best --figures figures",
    "report demo --format md -o report.md",
)
_add(SEARCH, "init", init_command, "init --storage postgresql://me@host/studies")
_add(
    SEARCH, "doctor", doctor_command, "doctor", "doctor demo", "doctor --fix", "doctor search/studies/demo.toml --json"
)
app.add_typer(storage_app, name="storage", rich_help_panel=SEARCH)
_add(MANAGE, "enqueue", enqueue_command, "enqueue demo width=16 learning_rate=0.001")
_add(MANAGE, "cancel", cancel_command, "cancel demo 7")
_add(MANAGE, "rename", rename_command, "rename demo first_try")
_add(
    MANAGE,
    "copy",
    copy_command,
    "copy demo --to postgresql://me@host/studies",
    "copy demo --to sqlite:///other.db --name demo2",
)
_add(MANAGE, "adopt", adopt_command, "adopt demo")
_add(MANAGE, "delete", delete_command, "delete demo", "delete demo --yes")
_add(
    RUN,
    "train",
    train_command,
    "train best.yaml -o runs/best",
    "train best.yaml -o runs/long --epochs 200 --set learning_rate=0.0005",
)
_add(
    RUN,
    "evaluate",
    evaluate_command,
    "evaluate runs/best",
    "evaluate runs/best --data other.toml -o runs/best/other",
    "evaluate runs/best --by speed",
)
_add(
    RUN,
    "compare",
    compare_command,
    "compare runs/best runs/other",
    "compare runs/best --classical -o runs/best/compare",
    "compare runs/a runs/b --data other.toml --json",
)
_add(
    RUN,
    "apply",
    apply_command,
    "apply runs/best drive.wav -o estimate.wav",
    "apply runs/best drive.mat --channels ch1z,ch2z -o estimate.mat",
    "apply runs/best recordings/ -o estimates --format csv --picture",
    "apply runs/best 'data/**/*km.wav' -o estimates --audible",
)
_add(
    RUN,
    "live",
    live_command,
    "live runs/live --source drive.wav --speed 1",
    "live runs/live --source tcp:9000 --rate-hz 1000 -o estimate.csv",
    "live runs/live --source samples.pipe --json",
)
_add(RUN, "pretrained", pretrained_command, "pretrained", "pretrained --json")
_add("Scripts", "schema", schema_command, "schema", "schema trials > trials.schema.json")
_add(
    RUN,
    "export-model",
    export_model_command,
    "export-model runs/best -o model.onnx --check",
    "export-model runs/best -o model.onnx --int8",
    "export-model runs/best -o model.onnx --fixed",
)
_add(PLUGINS, "new", new_command, "new model my_model.py", "new loss my_loss.py")
_add(
    PLUGINS,
    "check",
    check_command,
    "check my_model.py",
    "check my_reader.py --example drive.xyz",
    "check my_loss.py -q",
)
_add(PLUGINS, "trust", trust_command, "trust demo --show", "trust demo", "trust best.yaml", "trust runs/best")


def main() -> None:
    """Run the command line.

    Exit code 2, with one line on stderr: a UserError (search.errors), an invalid option, or a missing package of the
    extra `train`.
    Exit code 1, with a traceback and the address to report it to: any other exception, which is a bug in Drivebeat.
    Exit code 130: Ctrl-C. A command that searches or trains then ends with a line that says how to go on.

    DRIVEBEAT_DEBUG=1 shows the traceback of a UserError too.

    Characters that the terminal's encoding does not have are printed as "?".
    """
    _replace_unencodable()
    _silence_logged_interrupts()
    number, arguments = signal.SIGINT, sys.argv[1:]
    with recorded_interrupts() as interrupts:
        try:
            code: Any = app(standalone_mode=False, prog_name="drivebeat")
            if sys.stdout is not None:
                sys.stdout.flush()  # here, so that a full disk is refused as below
        except typer.Exit as end:
            code = end.exit_code
        except Interrupted as end:
            number, code = signal.Signals(end.number), end.exit_code
            arguments = [end.renamed.get(word, word) for word in arguments]
        except (typer.Abort, KeyboardInterrupt):
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:  # the reader of the pipe has closed it
            _close_output()
            code = ExitCode.BROKEN
        except Exception as error:
            # an import that KeyboardInterrupt broke off can fail with another error: numpy's, with AttributeError
            code = ExitCode.INTERRUPTED if interrupts else _handle(error)
    if code == 128 + number:
        print_next(arguments, number)
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _close_output() -> None:
    """Send what is left of standard output nowhere, for it cannot be written."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _replace_unencodable() -> None:
    """Have standard output replace characters that its encoding does not have: ±, — or the bytes of a foreign name.

    An error would end the command, and a worker with it. Standard error escapes them already.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _silence_logged_interrupts() -> None:
    """Have no library print the traceback of a Ctrl-C, as SQLAlchemy does when it breaks off closing a connection."""
    if logging.lastResort is not None:  # the handler of records that no other handler takes
        logging.lastResort.addFilter(_is_no_interrupt)


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt))


def _print_error(message: str, code: int) -> int:
    """Print `message` in one line on stderr and return `code`."""
    line = printable(" ".join(line.strip() for line in message.strip().splitlines()))
    shown = line if len(line) <= MAX_CHARACTERS else f"{line[: MAX_CHARACTERS // 2]} ... {line[-MAX_CHARACTERS // 2 :]}"
    typer.echo(f"drivebeat: {shown}", err=True)
    return code


def _command(arguments: list[str]) -> str:
    """Return the command among the arguments of the program: "train", or "data info"."""
    words = [word for word in arguments if not word.startswith("-")]
    groups = {group.name for group in app.registered_groups}
    return " ".join(words[: 2 if words[:1] and words[0] in groups else 1]) or "drivebeat"


def _handle(error: Exception) -> int:
    """Print a UserError or the option parser's error in one line, a bug with its traceback. Return the exit code."""
    if isinstance(error, UserError):
        if os.environ.get("DRIVEBEAT_DEBUG"):
            raise error
        return _print_error(str(error), ExitCode.REFUSED)
    if isinstance(error, OSError) and error.errno in FULL:
        where = error.filename or "standard output"
        _close_output()
        return _print_error(f"{where}: {error.strerror}; free some space, or write to another disk", ExitCode.REFUSED)
    # click's exceptions are recognised by their attributes: some versions of typer contain their own copy of click
    if hasattr(error, "format_message") and hasattr(error, "ctx"):
        message = error.format_message().strip().rstrip(".")
        if not message:  # called without a command: the help has been printed
            return ExitCode.DONE
        where = error.ctx.command_path if error.ctx is not None else "drivebeat"
        return _print_error(f"{message}; see {where} --help", ExitCode.REFUSED)
    if hasattr(error, "exit_code") and hasattr(error, "show"):
        return _print_error(str(error), error.exit_code)
    if package := missing_package(error):
        if os.environ.get("DRIVEBEAT_DEBUG"):
            raise error
        return _print_error(needs(_command(sys.argv[1:]), package), ExitCode.REFUSED)
    traceback.print_exception(error)
    return _print_error(
        f"this is a bug in Drivebeat {version('drivebeat')}; please report the lines above: {ISSUES}",
        ExitCode.BROKEN,
    )
