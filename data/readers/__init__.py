"""Read recordings, one file a format. Imports recording, files and errors.

A new format is a file with a function from a path to Contents, and a line in read.py's table of suffixes.
"""
