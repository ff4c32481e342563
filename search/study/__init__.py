"""A study: its file, its space, its record in the database, its export. May import queue, sampling and storage.

A new key of the study file goes into spec.py.
"""
