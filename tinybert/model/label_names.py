"""The label order that a checkpoint was trained with, where the file records it."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tinybert.errors import InputError
from tinybert.model.description import DESCRIPTION, Description

_KEY = "labels"
"""Of the label names in the metadata of a safetensors file: a JSON list."""


def encode_labels(labels: Sequence[str] | None) -> dict[str, str]:
    """Return the metadata that records a label order; empty where it is not known."""
    return {} if labels is None else {_KEY: json.dumps(list(labels), ensure_ascii=False)}


def recorded_labels(path: Path) -> tuple[str, ...] | None:
    """Return the label names that a checkpoint's head was trained with, in the order of their ids.

    They are in the metadata of a run's checkpoint, or in Hugging Face's config.json. None where
    neither has them or can be read: reading the weights reports what is wrong.

    Args:
        path: The checkpoint, or a directory with a Hugging Face model.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        described = Description.read(file.parent / DESCRIPTION).labels
    except InputError:
        described = None
    return _in_metadata(file) or described


def _in_metadata(file: Path) -> tuple[str, ...] | None:
    if file.suffix != ".safetensors":
        return None
    try:
        with safe_open(file, "numpy") as opened:
            names = json.loads((opened.metadata() or {}).get(_KEY, "null"))
    except (SafetensorError, OSError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None
