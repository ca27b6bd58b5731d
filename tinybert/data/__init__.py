"""Record files and their checks, the token store, the order of rows, and batches."""
