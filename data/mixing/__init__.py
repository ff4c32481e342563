"""Make batches of noisy and clean windows on the training device. Imports data.corpus and what that imports.

A new randomiser goes into noise.py, a new variation of windows into augment.py.
"""
