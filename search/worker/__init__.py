"""A worker and the life of a trial: trial.py has it on one page. Imports pages, messages, study and below.

A new step of a trial is a function that trial.py calls by name.
"""
