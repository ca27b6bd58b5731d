"""The command line: arguments, and a file for each command that does more than one call."""
