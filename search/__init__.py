"""Run many trials: studies, workers, the command line. The only layer that knows Optuna's studies and SQL.

It may import training, models, data and objectives. Its packages import downwards only, in the order of pyproject.toml.
A new package gets its place in that order.
"""
