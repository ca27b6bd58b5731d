"""Record files, the token store, batches, and the making of records from text."""
