"""Where reports go besides the caller: JSON lines, TensorBoard, MLflow, Neptune. Imports training.config and report.

A new tracker is a file with a class derived from base.Tracker, and a line in base.py's table.
"""
