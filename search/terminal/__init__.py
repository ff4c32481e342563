"""What commands print: tables, the live view, comparisons. Reads studies and the queue, writes nothing.

A new table goes beside those of its subject.
"""
