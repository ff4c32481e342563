"""The fast storage: an Optuna storage on Optuna's tables with few statements. Imported by storage/open.py and pruners.

storage.py has the storage's methods, batch.py pending writes, cache.py its cache, reads.py and writes.py the SQL.
"""
