"""Read recordings from files; each format has a module or a package. Imports filters, recording, files and errors.

A new format is a module with a function that reads Contents from a path, and a line with register_reader in read.py.
contract.py holds the rules for every reader.
"""
