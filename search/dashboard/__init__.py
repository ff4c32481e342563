"""Serve optuna-dashboard with a cache, compression and passwords. The only package that imports optuna_dashboard.

Imports pages, study and below. private.py holds every private name of optuna-dashboard that is used.
"""
