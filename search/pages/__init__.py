"""What workers write for the dashboard: notes, figures, plots and the study page; and the retention of artifacts.

May import study and below. May not import optuna-dashboard, which takes a second. A new plot goes into plots.py.
"""
