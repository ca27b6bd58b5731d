"""JSON as RFC 8259 has it, without what Python's parser accepts beyond it.

What is read here is safe to walk, to digest and to write again.
"""

import codecs
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tinybert.files import read_file

MAX_BYTES = 16 << 20
MAX_DEPTH = 64
"""Objects and arrays within each other; the deepest file of the program has about ten."""
EXACT = 2**53
"""The least integer that other readers of JSON may round."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_LONG_INTEGER = re.compile(r"\d{16}")
_LARGE_FLOAT = re.compile(r"[eE]\+?\d{3}|\d{300}")
"""What text must hold to need a check that costs a call for every number."""


def read_json(path: Path, *, limit: int = MAX_BYTES, exact_integers: bool = False) -> Any:
    """Return the value of a JSON file.

    Args:
        path: A regular file in UTF-8; a byte order mark changes nothing.
        limit: Bytes at most.
        exact_integers: As for `parse_json`.

    Raises:
        OSError: The file is missing, no regular file, or cannot be read.
        ValueError: As `parse_json`, or the file is larger.
    """
    data = read_file(path, limit + 1)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    return parse_json(data.removeprefix(codecs.BOM_UTF8), exact_integers=exact_integers)


def parse_json(data: str | bytes, *, exact_integers: bool = False) -> Any:
    """Return the value of a JSON text.

    Beside what is no JSON, these are refused: `NaN` and `Infinity`, a key that is there twice, a
    number beyond 64-bit floats, half a surrogate pair, bytes that are not UTF-8, and nesting
    deeper than `MAX_DEPTH`.

    Args:
        data: The text.
        exact_integers: Refuse integers of 2^53 or more, too.

    Raises:
        ValueError: With the reason, and the place where the parser knows it.
    """
    text = data.decode() if isinstance(data, bytes) else data
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float if _LARGE_FLOAT.search(text) else None,
            parse_int=_integer if exact_integers and _LONG_INTEGER.search(text) else None,
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair") from error
    if nests_deeply(value):
        raise ValueError("it is nested too deeply")
    return value


def nests_deeply(value: Any) -> bool:
    """Return whether objects and arrays are nested deeper than `MAX_DEPTH`."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [x for items in inner for x in items if isinstance(x, dict | list)]
    return bool(level)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"key `{key}` is there twice")
        members[key] = value
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is beyond 64-bit floats")
    return number


def _integer(text: str) -> int:
    number = int(text) if len(text) < 20 else EXACT
    if not -EXACT < number < EXACT:
        raise ValueError("it holds an integer of 2^53 or more")
    return number
