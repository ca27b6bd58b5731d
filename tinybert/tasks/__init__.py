"""Tasks: raw data sets -> labelled records, label orders, metrics."""
