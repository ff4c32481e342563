"""The commands of `drivebeat`. May import all of search; modules that are slow to import are imported in functions.

A new command goes into the file of its group and into app.py.
"""
