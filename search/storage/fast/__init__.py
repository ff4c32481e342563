"""The fast storage: an Optuna storage on Optuna's tables with few statements. Imported by storage/open.py and pruners.

storage.py has the storage's methods, its connections and what it keeps between calls; cache.py the trials read so far
and how rows are decoded. SQL: studies.py for studies and new trials, writes.py and reads.py for trials.
"""
