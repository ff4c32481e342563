"""Read text tables: the encoding, the head with delimiter and names, the rows, the column that tells the time.

table.py reads a file; each of the others does one of these steps.
"""
