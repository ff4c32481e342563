"""Write a run's reports and files to JSON lines, standard output, TensorBoard, MLflow or Neptune.

Imports training's config and reports. A new tracker is a file with a class derived from base.Tracker, and a line in
base.TRACKERS.
"""
