"""A study: its file, its space, its record in the database, its export. Imports the queue, sampling, storage.

A new key of the study file goes into spec.py, a new fact about a study into the module of its subject.
"""
