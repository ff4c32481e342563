"""Stores for figures, sounds and checkpoints of trials: a folder, or an S3-compatible bucket.

May import storage. A new store is a module with the classes that base.py describes; folder.open_artifacts opens it.
"""
