"""Which values make a run what it is, and in which two recipes differ."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import rfc8785

WITHOUT_EFFECT = re.compile(
    r"expect(\.|$)|topology\.(master_|timeout_|bind_core)|runtime\.dropout_masks"
)
"""Keys that change no bit of an outcome: runs that differ in them alone are the same run."""


def identity(values: Mapping[str, Any]) -> str:
    """Return the digest of the resolved values that make a run what it is."""
    return sha256(rfc8785.dumps(_with_effect(values))).hexdigest()


def _with_effect(values: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if not WITHOUT_EFFECT.match(table + key)}
    return {
        key: _with_effect(value, f"{table}{key}.") if isinstance(value, Mapping) else value
        for key, value in kept.items()
    }


@dataclass(frozen=True)
class Change:
    """A value that two recipes do not share."""

    key: str
    """Dotted."""
    before: Any
    """In the first recipe; None: absent."""
    now: Any
    """In the second."""


def changes(before: Mapping[str, Any], now: Mapping[str, Any], table: str = "") -> Iterator[Change]:
    """Yield the differences that make two recipes' resolved values ask for different runs."""
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if WITHOUT_EFFECT.match(f"{table}{key}") or old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, f"{table}{key}.")
        else:
            yield Change(f"{table}{key}", old, new)
