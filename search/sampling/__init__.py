"""Samplers, which choose the next point, and pruners, which end trials early. May import storage only.

A new sampler is an entry of samplers.SAMPLERS, a new pruner a class in pruners.py and an entry of pruners.PRUNERS.
"""
