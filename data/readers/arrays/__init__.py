"""Read files of named arrays: which array is the signal, and which beside it are its rate, clock, ECG and R peaks.

The rules are in variables.py and beside.py, and hold for .npz, HDF5 and MATLAB alike.
"""
