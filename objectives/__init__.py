"""Losses, metrics, heart sounds and heart rate, and the costs of a model. Imports no other layer of ours.

A new loss is a config class with @register_loss in losses.py; a new metric is a line with register_metric in
metrics.py. contract.py holds the rules for both.
"""
