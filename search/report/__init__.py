"""Write one file about studies, as HTML or Markdown. Imports study, terminal and below.

Facts are read once (facts.py), sections made of them; a new section is a function that build.py calls.
"""
