"""Recordings in, (noisy, clean) batches out. Imports none of our other layers.

Its parts import downwards only, in the order of pyproject.toml. A new format goes into readers/.
"""
