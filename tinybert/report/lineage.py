"""The chain of runs that led to a run or an export."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinybert.errors import ManifestError
from tinybert.manifest.document import Run


@dataclass(frozen=True)
class ParentLink:
    """A run as another one, or an export, names it."""

    role: str
    name: str
    """Its manifest as it was named."""
    path: Path
    outcome_digest: str


@dataclass(frozen=True)
class Ancestor:
    """A run that led to another one."""

    role: str
    """What its result was read for."""
    name: str
    """Its manifest as it was named."""
    depth: int
    """1: a parent, 2: a parent's parent, and on."""
    run: Run | None
    """None: its manifest cannot be read."""
    problem: str
    """What is wrong with the link to it; mostly empty."""
    above: bool
    """Whether its own parents were named before."""


def parent_links(run: Run) -> list[ParentLink]:
    """Return the runs whose results a run read."""
    return [
        ParentLink(parent.role, parent.manifest, run.root / parent.manifest, parent.outcome_digest)
        for parent in run.manifest.inputs.parents
    ]


def ancestors(start: Path, links: Sequence[ParentLink]) -> Iterator[Ancestor]:
    """Yield each run that led to a run, the first parent and what led to it before the second.

    The first runs are those that `start` names. The parents of a run that is named twice are
    yielded once.
    """
    waiting = [(link, 1) for link in reversed(links)]
    line, followed = [os.path.realpath(start)], {os.path.realpath(start)}
    while waiting:
        link, depth = waiting.pop()
        del line[depth:]
        try:
            run = Run.load(link.path)
        except ManifestError as error:
            yield Ancestor(link.role, link.name, depth, None, error.message, False)
            continue
        path, problem = os.path.realpath(run.path), ""
        if run.manifest.digests.outcome != link.outcome_digest:
            problem = "its outcome is not the one that was used"
        elif path in line:
            problem = "it leads to itself"
        parents = parent_links(run) if path not in followed else []
        above = not parents and bool(run.manifest.inputs.parents)
        yield Ancestor(link.role, link.name, depth, run, problem, above)
        followed.add(path)
        line.append(path)
        waiting += ((parent, depth + 1) for parent in reversed(parents))
