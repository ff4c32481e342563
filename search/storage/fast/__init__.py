"""An Optuna storage of few statements on Optuna's own tables. Imported by storage/open.py and by pruners.

storage.py has the methods, cache.py what it remembers, reads.py and writes.py its statements.
"""
