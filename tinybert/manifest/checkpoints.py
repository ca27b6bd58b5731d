"""Checkpoints: what a manifest records of them, and whether they are as recorded."""

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinybert.errors import InputError
from tinybert.files import digest_file
from tinybert.manifest.digests import tensor_digest, tensor_table
from tinybert.manifest.model import Checkpoint, CheckpointFile, Outcome

if TYPE_CHECKING:
    import numpy as np


def table_of(path: Path) -> Path:
    """Return where the tensor table of a checkpoint's file is."""
    return path.with_name(f"{path.name}.tensors.json")


def record_file(path: Path, trace_digest: str | None) -> CheckpointFile:
    """Return what is recorded of a checkpoint's file, and of the trace up to it."""
    file = digest_file(path)
    return CheckpointFile(size=file.size, sha256=file.sha256, trace_digest=trace_digest)


def with_checkpoint(
    outcome: Outcome, entry: Checkpoint, gone: Container[str], *, best: bool
) -> Outcome:
    """Return an outcome with a further checkpoint.

    Args:
        outcome: The outcome so far.
        entry: The checkpoint; it takes the place of one of the same step.
        gone: Files of checkpoints that are no longer kept.
        best: Whether it is the one of the best evaluation, which is kept apart.
    """
    if best:
        return replace(outcome, best_checkpoint=entry)
    others = [old for old in outcome.checkpoints if old.step != entry.step and old.file not in gone]
    return replace(outcome, checkpoints=sorted([*others, entry], key=lambda kept: kept.step))


def changed_file(path: Path, recorded: CheckpointFile | None, *, read: bool = True) -> str:
    """Return how a checkpoint's file differs from the one that was written; empty if it is equal.

    Args:
        path: The file.
        recorded: Its recorded size and digest; None in manifests that have none.
        read: Whether to hash the file; otherwise only its size is compared.

    Raises:
        InputError: The file cannot be read.
    """
    if not path.is_file():
        return "missing"
    if recorded is None:
        return ""
    size = path.stat().st_size
    if size != recorded.size:
        return f"{size} bytes, not {recorded.size}"
    sha256 = digest_file(path).sha256 if read else recorded.sha256
    return "" if sha256 == recorded.sha256 else f"SHA-256 {sha256}, not {recorded.sha256}"


def changed_tensors(arrays: "Mapping[str, np.ndarray[Any, Any]]", recorded: Checkpoint) -> str:
    """Return how a checkpoint's tensors differ from the recorded ones; empty if they are equal.

    Args:
        arrays: Every tensor of the file.
        recorded: The checkpoint as it was recorded.
    """
    digest = tensor_digest(tensor_table(arrays))
    equal = digest == recorded.tensor_digest
    return "" if equal else f"tensor digest {digest}, not {recorded.tensor_digest}"


def require_equal(path: Path, change: str, *, cure: str) -> None:
    """Raise an InputError if a checkpoint is not the recorded one.

    Args:
        path: The file.
        change: How it differs; empty if it does not.
        cure: What the user can do about it.
    """
    if change:
        message = f"the checkpoint is not the one that the run recorded: {change}"
        raise InputError(message, where=str(path), cure=cure)
