"""One sequence of bytes for equal values: RFC 8785, and its SHA-256."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

from tinybert.errors import InputError

NOT_A_NUMBER = "float:NaN"
INFINITY = "float:Infinity"
MINUS_INFINITY = "float:-Infinity"


def to_json(value: Any) -> Any:
    """Return `value` as JSON knows it: dict with text keys, list, text, int, float, bool, None.

    A dataclass becomes a dict of its fields, tuples become lists, paths text, NumPy scalars
    Python numbers, and a float that JSON cannot write one of the strings `float:NaN`,
    `float:Infinity`, `float:-Infinity`. Plain values stay as they are, so that a value and what
    was read back from its JSON have equal digests.

    Raises:
        TypeError: A value of another kind, or a key that is not text.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _tag(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys must be text, not {sorted(map(repr, value))}")
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, PurePath):
        return value.as_posix()
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return to_json(value.item())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 bytes of `to_json(value)`.

    Raises:
        TypeError: As `to_json`.
        ValueError: An integer of 2^53 or more, which JSON readers would round.
        InputError: A text is not UTF-8, such as the name of a file that has other bytes.
    """
    import rfc8785

    try:
        return rfc8785.dumps(to_json(value))
    except ValueError as error:
        cause = error if isinstance(error, UnicodeEncodeError) else error.__cause__
        if not isinstance(cause, UnicodeEncodeError):
            raise
        message = f"the name is not UTF-8: {cause.object!a}"
        raise InputError(message, cure="rename the file or folder") from error


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical bytes of `value`, 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parse_number(value: float | str) -> float:
    """Return the float of a plain number, be it tagged or not."""
    return float(value.removeprefix("float:")) if isinstance(value, str) else float(value)


def _tag(value: float) -> str:
    if math.isnan(value):
        return NOT_A_NUMBER
    return INFINITY if value > 0 else MINUS_INFINITY
