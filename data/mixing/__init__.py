"""Make noisy and clean windows in batches on the device: windows, noise, augmentation. Imports corpus and below.

A new randomiser goes into noise.py, a new variation of windows into augment.py.
"""
