"""Each stage as one readable function: records, networks, training, results."""
