"""The command line: arguments, and the commands that do more than one call."""
