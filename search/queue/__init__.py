"""The slots of a budget, the leases on them and the workers that hold them. Imports storage only.

A new state of a slot goes into slots.py and into the state machine of docs/design.md.
"""
