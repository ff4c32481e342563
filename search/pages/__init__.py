"""What workers write for the dashboard: notes, figures, plots, the study's page, and what is removed again.

May import study and below; not optuna-dashboard, which costs a worker a second. A new plot goes into plots.py.
"""
