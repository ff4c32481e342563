"""The entry point: check that the packages found are Drivebeat's, then run the command line.

Drivebeat's packages have common names. A module of the same name earlier on sys.path would be imported instead.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("search", "training", "models", "data", "objectives")


def foreign_package() -> str:
    """Return an error message for the first package that another module hides; "" where there is none."""
    home = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = find_spec(name)
        locations = [*(spec.submodule_search_locations or ()), spec.origin] if spec is not None else []
        found = next((Path(location).resolve() for location in locations if location), None)
        if found is None:
            return f"package {name} is missing beside {home}; install Drivebeat again"
        if found != home / name:
            return (
                f"{found} is imported in place of Drivebeat's package {name}; rename it, or remove its folder from "
                "PYTHONPATH and site-packages"
            )
    return ""


def main() -> None:
    """Run the command line. Exit code 130: interrupted while starting; 2: a package is hidden by another module."""
    try:
        if problem := foreign_package():
            print(f"drivebeat: {problem}", file=sys.stderr)
            sys.exit(2)
        from search.cli.app import main as run
    except KeyboardInterrupt:
        from search.cli.interrupted import print_next

        print_next(sys.argv[1:])
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
