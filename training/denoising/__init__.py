"""Whole recordings through a trained model, as `drivebeat apply` does it. `denoise.py` is the way from Python; the
other files find the recordings, name and write the files of their estimates, and measure the beats in these.
"""
