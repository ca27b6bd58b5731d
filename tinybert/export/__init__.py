"""Networks and runs in the formats of others: checkpoint families, ONNX, MINDIR, curves."""

from typing import Literal

Format = Literal["onnx", "mindir", "air", "huggingface"]
"""What `export` writes; here, so that the command line knows it without loading the exporters."""
