"""What ran, proven: the manifest of a run, its trace, and the comparison of two of them."""
