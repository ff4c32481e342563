"""The slots of a budget, their leases, and the workers that hold them. May import storage only.

A new state of a slot goes into slots.py and into the state diagram of docs/design.md.
"""
