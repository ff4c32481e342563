"""The fast storage: an Optuna storage on Optuna's tables with few statements. Imported by storage/open.py and pruners.

storage.py has the storage's methods for trials, base.py its connections and the methods for studies, state.py what it
keeps between calls, cache.py the trials read so far. SQL: studies.py, new_trial.py, writes.py and reads.py, whose rows
decode.py decodes.
"""
