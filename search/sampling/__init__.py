"""Which point is tried next, and which trial is pruned. Imports storage only.

A new sampler is a line in samplers.SAMPLERS, a new pruner a class and a line in pruners.py.
"""
