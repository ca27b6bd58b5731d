"""The order of a task's labels: a label's id is its place in it, in records and in the head."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tinybert.data.sidecar import load_sidecar
from tinybert.errors import InputError, UsageError, quoted

_KEY = "labels"
"""Of the label names in the metadata of a safetensors file: a JSON list."""
IGNORED = -100
"""Label id of a position that is neither trained on nor measured: a special token, padding, or
a word's second and later pieces."""


def labels(directory: Path) -> tuple[str, ...] | None:
    """Return the label names of prepared records in the order of their ids.

    Args:
        directory: Where the records are.

    Returns:
        None if the records were not prepared here, carry no labels, or carry numbers.

    Raises:
        InputError: The records.json cannot be read, or was changed.
    """
    sidecar = load_sidecar(directory)
    return sidecar.task.labels if sidecar is not None and sidecar.task is not None else None


def encode_labels(names: Sequence[str] | None) -> dict[str, str]:
    """Return the metadata that records a label order; empty where it is not known."""
    return {} if names is None else {_KEY: json.dumps(list(names), ensure_ascii=False)}


def decode_labels(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the label order that a file's metadata records; None if it records none."""
    try:
        names = json.loads(metadata.get(_KEY, "null"))
    except ValueError:
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def check_label_order(
    names: Sequence[str] | None, expected: Sequence[str] | None, *, where: str, source: str
) -> None:
    """Refuse two label orders that differ in more than the case of their letters.

    Where one of them is unknown, nothing is compared.

    Args:
        names: Label names at `where`.
        expected: Label names they must equal.
        where: Place of `names`, such as the dev set's directory.
        source: What `expected` belongs to, such as "the training records".

    Raises:
        InputError: They differ.
    """
    if names is None or expected is None or _folded(names) == _folded(expected):
        return
    raise InputError(
        f"the labels are {quoted(names)}; those of {source} are {quoted(expected)}",
        where=where,
        cure="let both have one order: prepare the records anew with --labels or --labels-from, "
        "for `prepare glue` with --label-names; or say in [task] what the records' labels are "
        'called: label_names = { records_name = "name" }',
    )


def _folded(names: Sequence[str]) -> tuple[str, ...]:
    """Return names without their case, unless two of them are then the same."""
    folded = tuple(name.casefold() for name in names)
    return folded if len(set(folded)) == len(folded) else tuple(names)


def rename_labels(names: Sequence[str], renamed: Mapping[str, str]) -> tuple[str, ...]:
    """Return label names in their order, with other names.

    Args:
        names: The names.
        renamed: The other name of each that has one.

    Raises:
        UsageError: A name is not among them, or two labels would have one name.
    """
    for name in renamed:
        if name not in names:
            raise UsageError(f"`{name}` is not a label here: {quoted(names)}")
    result = tuple(renamed.get(name, name) for name in names)
    label_ids(result)
    return result


def label_ids(names: Sequence[str]) -> dict[str, int]:
    """Return the id of each label.

    Raises:
        UsageError: There are fewer than two labels, or one is named twice.
    """
    ids = {name: index for index, name in enumerate(names)}
    if len(ids) < len(names):
        twice = next(name for index, name in enumerate(names) if ids[name] != index)
        raise UsageError(f"label `{twice}` is named twice")
    if len(ids) < 2:
        raise UsageError(f"a task has at least 2 labels; here: {quoted(names)}")
    return ids


def choose_labels(
    given: Sequence[str] | None,
    labels_from: Path | None,
    read: Callable[[], Iterable[str]],
    order: Callable[[Iterable[str]], list[str]],
) -> tuple[str, ...]:
    """Return the label names in order: as given, as in other records, or as read and sorted.

    Args:
        given: Names on the command line.
        labels_from: Directory of records that were prepared before.
        read: Reads all labels of the input; called only if neither is given.
        order: Sorts what `read` returns.

    Raises:
        InputError: `labels_from` names no labels.
        UsageError: Both are given.
    """
    if given is not None and labels_from is not None:
        raise UsageError("--labels and --labels-from exclude each other")
    if given is not None:
        return tuple(given)
    if labels_from is None:
        return tuple(order(read()))
    names = labels(labels_from)
    if names is None:
        raise InputError(
            "the directory holds no prepared records with label names", where=str(labels_from)
        )
    return names


def unknown_label(label: str, known: Iterable[str], where: str) -> InputError:
    """Return the error for a label that the task does not have."""
    return InputError(f"`{label}` is not a label of this task: {quoted(known)}", where=where)
