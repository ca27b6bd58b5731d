"""A trained network in the formats of others: checkpoint families, ONNX, MINDIR."""
