"""Evaluate a run: estimates, scores, comparisons, figures and sounds. Imports training's basics, models and data.

A new score is a line in scores.SCORES; a new figure goes into showcase.py.
"""
