"""The JSON documents that commands print with --json: a class for each, with the meaning of each key.

Imports nothing of search. docs/guide/machines.md is written from the classes, and `drivebeat schema` prints them as
JSON Schema. A new document goes into the list of all.py.
"""
