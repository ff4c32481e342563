"""Write one file about studies, as HTML or Markdown. Imports study, terminal and below.

facts.py reads the studies once. A section is a function of these facts; build.py calls it.
"""
