"""Start workers and keep them running: on this machine, on a Ray cluster, as SLURM jobs. Imports the worker and below.

A new launcher is a file with a context manager as base.py describes it, and a line in launch.py's table.
"""
