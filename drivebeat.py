"""The program's entry: check that our packages are the ones imported, then run the command line.

Our packages have common names. A module of that name earlier on the path would be imported in their place.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("search", "training", "models", "data", "objectives")


def foreign_package() -> str:
    """Say in one line which of our packages another module hides, and what to do; "" where none does."""
    home = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = find_spec(name)
        places = [*(spec.submodule_search_locations or ()), spec.origin] if spec is not None else []
        found = next((Path(place).resolve() for place in places if place), None)
        if found is None:
            return f"package {name} is missing beside {home}; install Drivebeat again"
        if found != home / name:
            return (
                f"{found} is imported in place of Drivebeat's package {name}; rename it, or take its folder off "
                "PYTHONPATH and out of site-packages"
            )
    return ""


def main() -> None:
    """Run the command line; 130 where it was interrupted before it could answer, 2 where a package is hidden."""
    try:
        if problem := foreign_package():
            print(f"drivebeat: {problem}", file=sys.stderr)
            sys.exit(2)
        from search.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
