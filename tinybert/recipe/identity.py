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
PROCESSES = re.compile(
    r"topology\.(hosts|devices_per_host|device_count|device_ids)$|(data|phase\d)\.batch_size$"
)
"""Keys that say how many processes share a global batch: with micro-batches they change no bit."""


def has_effect(key: str, *recipes: Mapping[str, Any]) -> bool:
    """Return whether runs of recipes, given by their resolved values, depend on a dotted key."""
    if WITHOUT_EFFECT.match(key):
        return False
    parts = {recipe.get("data", {}).get("micro_batches") for recipe in recipes}
    return not PROCESSES.match(key) or None in parts or len(parts) > 1


def identity(values: Mapping[str, Any]) -> str:
    """Return the digest of the resolved values that make a run what it is."""
    return sha256(rfc8785.dumps(_with_effect(values, values))).hexdigest()


def _with_effect(
    values: Mapping[str, Any], recipe: Mapping[str, Any], table: str = ""
) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if has_effect(table + key, recipe)}
    return {
        key: _with_effect(value, recipe, f"{table}{key}.") if isinstance(value, Mapping) else value
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

    def __str__(self) -> str:
        """Return the change of a run's recipe, for a message."""
        return f"{self.key}: {self.before!r} then, {self.now!r} now"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the differences that make two recipes' resolved values ask for different runs."""
    return (change for change in _changes(before, now) if has_effect(change.key, before, now))


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], table: str = ""
) -> Iterator[Change]:
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{table}{key}.")
        elif old != new:
            yield Change(f"{table}{key}", old, new)
