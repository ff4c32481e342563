"""A recording as it arrives through a causal model, as `drivebeat live` and, for such models, `apply` run it."""
