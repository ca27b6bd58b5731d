"""What the command line does that needs more than one package."""
