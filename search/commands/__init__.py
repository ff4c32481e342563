"""What a command and the function of the same name in `import drivebeat` have in common: create, train."""
