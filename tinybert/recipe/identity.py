"""Which values make a run what it is, and in which two recipes differ."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WITHOUT_EFFECT = re.compile(
    r"expect(\.|$)|topology\.(master_|timeout_|bind_core)|runtime\.dropout_masks"
)
"""Keys that change no bit of an outcome: runs that differ in them alone are the same run."""


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
