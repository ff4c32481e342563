"""A recording as it arrives through a causal model, as `drivebeat live` and, for such models, `apply` run it.

Samples come in chunks, their state is a value, and the estimate is the same for chunks of any size.
"""
