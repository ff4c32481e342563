"""Read and prepare recordings, and mix them into batches of noisy and clean windows. Imports no other layer of ours.

Its parts import downwards only, in the order given in pyproject.toml. A new file format goes into readers/.
"""
