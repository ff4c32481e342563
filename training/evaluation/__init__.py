"""Evaluate a run: estimates, scores, comparisons, figures and sounds. Imports training's basics, models and data.

A new score is a line with register_score in scores.py, by the rules of contract.py; a new figure goes into
showcase.py.
"""
