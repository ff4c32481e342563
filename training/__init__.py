"""Train and judge one run: its config, its loop, its folder. Knows no study and no SQL.

May import models, data and objectives. A new section of a run is a config class in config.py.
"""
