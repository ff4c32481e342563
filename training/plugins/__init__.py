"""Plug-ins: Python files outside of this program that register models, losses, metrics, readers or samplers.

plugin.py reads and writes them in documents, trust.py says whose code is executed, load.py executes it. Imports the
tables that they register in, but not training.config, which imports this package.
"""
