"""Read MATLAB files: version 5 to 7.2, version 7.3 (HDF5), and the layouts of the lab's campaigns.

A new layout of files from a lab goes into lab.py.
"""
