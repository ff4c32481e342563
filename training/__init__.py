"""Train and evaluate one run: its config, its training loop, its folder. Knows nothing of studies or SQL.

May import models, data and objectives. A new section of a run is a config class in config.py.
"""
