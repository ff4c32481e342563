"""Where the program begins: Ctrl-C while its commands are still being imported ends it as it does later."""

import sys


def main() -> None:
    """Run the command line; 130 where it was interrupted before it could answer."""
    try:
        from search.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
