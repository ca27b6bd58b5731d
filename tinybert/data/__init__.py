"""Record files and their checks, the token store, the order of rows, batches and their packing."""
