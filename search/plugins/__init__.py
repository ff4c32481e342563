"""Help for those who write plug-ins: templates, the check against the contract, and where a plug-in is found.

templates/ holds Python files that nobody imports: `drivebeat new` copies them. Imports studies and samplers; what
executes a plug-in is training.plugins.
"""
