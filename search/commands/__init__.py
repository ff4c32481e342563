"""The parts that a command and the function of the same name in `import drivebeat` share: create, train.

They get a console to print to. A command in search/cli, and its function in search/python, call them.
"""
