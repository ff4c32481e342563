"""A worker, and how it runs a trial: trial.py shows all steps. May import pages, messages, study and below.

A new step of a trial is a function that trial.py calls by name.
"""
