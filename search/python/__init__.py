"""The functions of `import drivebeat`, for notebooks and scripts. Imports launchers and below, not the command line.

drivebeat.py names the module of each function and imports it at the first use, for torch takes seconds.
"""
