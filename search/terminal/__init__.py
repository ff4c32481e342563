"""What commands print: tables, the live view, comparisons. Reads studies and the queue, writes nothing.

A new table goes into the file of its subject.
"""
