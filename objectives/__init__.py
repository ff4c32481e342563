"""Losses, metrics, heart sounds and heart rate, and the costs of a model. Imports no other layer of ours.

A new loss is a config class in losses.py; a new metric is a line in metrics.METRICS.
"""
