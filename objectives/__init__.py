"""What is good: losses, metrics, heart rate and events, costs. Imports none of our other layers.

A new loss is a config class in losses.py, a new metric a line in metrics.METRICS.
"""
