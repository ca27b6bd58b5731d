"""Records as JSON files that carry the digest of their content, `sha256`, as a seal."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from tinybert.errors import ManifestError
from tinybert.manifest.canonical import digest
from tinybert.strict_json import read_json

Record = TypeVar("Record")


def encode_sealed(content: dict[str, Any]) -> bytes:
    """Return the file of a record: its content, and then the seal."""
    sealed = content | {"sha256": digest(content)}
    return (json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_sealed(
    path: Path, kind: type[Record], *, name: str, of: str, cure: str
) -> tuple[Record, str]:
    """Read a record, and compare it with its seal.

    Args:
        path: The file.
        kind: The record's class.
        name: What messages call the record.
        of: What it is a record of.
        cure: For a record that was edited.

    Returns:
        The record and its seal, 64 hex digits.

    Raises:
        ManifestError: It is missing, is no such record, or was edited.
    """
    try:
        content = read_json(path, exact_integers=True)
        seal = content.pop("sha256")
        intact = seal == digest(content)
        record = TypeAdapter(kind).validate_json(json.dumps(content)) if intact else None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ManifestError(f"cannot read the {name}: {reason}", where=str(path)) from error
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ManifestError(f"file is no record of {of}", where=str(path)) from error
    if record is None:
        message = f"the {name} was edited: its digest is not the recorded one"
        raise ManifestError(message, where=str(path), cure=cure)
    return record, seal
