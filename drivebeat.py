"""The entry point: the functions of `import drivebeat`, and the command line.

Drivebeat's packages have common names. A module of the same name earlier on sys.path, a models.py in the folder of a
notebook say, would be imported instead, so both ways first make sure that Drivebeat's are found.
"""

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.recording import Recording as Recording
    from search import errors as errors
    from search.python.denoiser import Denoiser as Denoiser
    from search.python.denoiser import load as load
    from search.python.recordings import audible as audible
    from search.python.recordings import in_band as in_band
    from search.python.recordings import read as read
    from search.python.runs import evaluate as evaluate
    from search.python.runs import train as train
    from search.python.studies import Study as Study
    from search.python.studies import create as create
    from search.python.studies import studies as studies
    from search.python.studies import study as study
    from search.python.workers import search as search

    __version__: str

PACKAGES = ("search", "training", "models", "data", "objectives")
# The names of the Python interface, by the module that defines them. docs/guide/python.md describes it.
INTERFACE = {
    "data.recording": ("Recording",),
    "search.errors": ("errors",),
    "search.python.denoiser": ("Denoiser", "load"),
    "search.python.recordings": ("audible", "in_band", "read"),
    "search.python.runs": ("evaluate", "train"),
    "search.python.studies": ("Study", "create", "studies", "study"),
    "search.python.workers": ("search",),
}


def own_packages_first() -> tuple[str, ...]:
    """Put Drivebeat's folder first on sys.path if other modules would be imported in place of its packages.

    Returns the paths of those modules. Raises ImportError if one of them is imported already, and for a package that is
    missing.
    """
    home, hiding = Path(__file__).resolve().parent, []
    for name in PACKAGES:
        spec = find_spec(name)
        locations = [*(spec.submodule_search_locations or ()), spec.origin] if spec is not None else []
        found = next((Path(location).resolve() for location in locations if location), None)
        if found == home / name:
            continue
        if not (home / name).is_dir():
            raise ImportError(f"package {name} is missing beside {home}; install Drivebeat again")
        if name in sys.modules:
            raise ImportError(
                f"{found} was imported before Drivebeat's package {name}; import drivebeat first, or rename it"
            )
        hiding.append(str(found))
    if hiding:
        sys.path.insert(0, str(home))
    return tuple(hiding)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a name of the interface when it is first used, for torch takes seconds.

        Raises ImportError where a module with the name of a package was imported before, see own_packages_first, and
        where a package of the extra `train` is not installed.
        """
        if name == "__version__":
            from importlib.metadata import version

            return version("drivebeat")
        home = next((module for module, names in INTERFACE.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for path in own_packages_first():
            name_there = Path(path).stem
            warnings.warn(
                f"`import {name_there}` imports Drivebeat's package from here on, not {path}; rename yours to use both",
                stacklevel=2,
            )
        with warnings.catch_warnings():
            # tqdm, which Optuna imports, asks for ipywidgets in a notebook; no bar of it is shown here
            warnings.filterwarnings("ignore", message="IProgress not found")
            try:
                module = import_module(home)
            except ModuleNotFoundError as error:
                from training.extras import missing_package, needs

                if package := missing_package(error):
                    raise ImportError(f"drivebeat: {needs(f'drivebeat.{name}', package)}") from error
                raise
        found = module if home == "search.errors" else getattr(module, name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return ["__version__", *(name for names in INTERFACE.values() for name in names)]


def main() -> None:
    """Run the command line. Exit code 130: interrupted while starting; 2: a package is missing."""
    try:
        try:
            own_packages_first()
        except ImportError as error:
            print(f"drivebeat: {error}", file=sys.stderr)
            sys.exit(2)
        from search.cli.app import main as run
    except KeyboardInterrupt:
        from search.cli.interrupted import print_next

        print_next(sys.argv[1:])
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
