"""Several processes and hosts: start them, watch them, show them, end them together."""
