"""Where figures, sounds and checkpoints of trials are stored: a folder, or an S3-compatible bucket.

May import storage. A new store is a file with the classes that base.py describes, opened by folder.open_artifacts.
"""
