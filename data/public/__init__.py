"""Public collections of hearts and vehicles, and the folder that their recordings are written to.

One module a collection lists its recordings and loads each of them; `table.py` names the collections.
"""
