"""JSON as RFC 8259 has it, without what Python's parser accepts beyond it."""

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn


def parse_json(data: str | bytes) -> Any:
    """Return the value of a JSON text.

    Beside what is no JSON, these are refused: `NaN` and `Infinity`, a key that is there twice, a
    number beyond 64-bit floats, half a surrogate pair, bytes that are not UTF-8, and nesting that
    is too deep for the parser.

    Raises:
        ValueError: With the reason, and the place where the parser knows it.
    """
    text = data.decode() if isinstance(data, bytes) else data
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair") from error
    return value


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
