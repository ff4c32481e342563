"""Samplers, which choose the next point, and pruners, which end trials early. May import storage only.

A new sampler is a builder with @register_sampler in samplers.py and follows the rules of contract.py. A new pruner is a
class in pruners.py and an entry of pruners.PRUNERS.
"""
