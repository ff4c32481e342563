"""The database: opening it, locks, retries, our own tables and their upgrade. Imports errors and trials only.

optuna_private.py has every private name of Optuna. A new table or column goes into tables.py and upgrade.py.
"""
