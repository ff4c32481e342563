"""Judge a run: estimates, scores, comparisons, what people see and hear. Imports training's basics, models, data.

A new score is a line in scores.SCORES; a new figure goes into showcase.py.
"""
