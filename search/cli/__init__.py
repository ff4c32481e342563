"""The commands of `drivebeat`: options in, one line out. Imports anything of search, heavy modules inside functions.

A new command goes into the file of its group, and into the list in app.py.
"""
