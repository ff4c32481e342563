"""Judge runs on unseen hearts and vehicles, see benchmarks.unseen.judge."""

import sys

from benchmarks.unseen.judge import main

main(sys.argv[1:])
