"""The database: engines and storages, locks, retries, our own tables and their upgrade.

May import errors and trials only. optuna_private.py has all private names of Optuna. A new table or column goes into
tables.py, with a new SCHEMA_VERSION.
"""
