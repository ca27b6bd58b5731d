"""A study: runs of one recipe with a matrix of values, all of which are written down first.

The record, `manifests/<recipe>.study-<digest>.json`, is sealed; its digest is in the manifest of
every member, so that neither a run nor a value can be taken away or added later unnoticed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.atomic import write_bytes
from tinybert.errors import ManifestError
from tinybert.manifest.canonical import digest, to_json
from tinybert.manifest.document import FOLDER, Run, load_runs
from tinybert.manifest.leaf import Section
from tinybert.manifest.sealed import encode_sealed, read_sealed
from tinybert.recipe.identity import identity

RECORD = re.compile(r".+\.study-[0-9a-f]{12}\.json")
"""The name of a record, which no run's manifest has."""


@dataclass(frozen=True, kw_only=True)
class StudyMember(Section):
    """One run of a study."""

    overrides: list[str]
    """What `--set` changes in the recipe."""
    identity: str
    """The digest of the values that make the run what it is."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Section):
    """The content of a record, without its seal."""

    format_version: int = 1
    recipe: str
    """Name of the recipe's file, without `.toml`."""
    device: str | None
    """What `--device` names."""
    values: dict[str, list[Any]]
    """The values of each key that is varied, or set."""
    members: list[StudyMember]
    """A run for every combination."""


@dataclass(frozen=True)
class Study:
    """A record with where it is."""

    path: Path
    record: StudyRecord
    digest: str
    """The digest of the record, which its runs name."""

    @classmethod
    def write(cls, root: Path, record: StudyRecord) -> "Study":
        """Write the record of a study below a root, unless it is there; return the study."""
        content = to_json(record)
        path = root / FOLDER / f"{record.recipe}.study-{digest(content)[:12]}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, encode_sealed(content))
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> "Study":
        """Read a record, and compare it with its seal, whose beginning is in its name.

        Raises:
            ManifestError: It is missing, is no such record, or was edited.
        """
        cure = "use the record as `study` wrote it; other values are another study"
        record, seal = read_sealed(path, StudyRecord, name="study", of="a study", cure=cure)
        if seal[:12] not in path.name:
            message = "the study was edited: its digest is not the one in its name"
            raise ManifestError(message, where=str(path), cure=cure)
        return cls(path, record, seal)

    @property
    def root(self) -> Path:
        """The directory with `manifests/`."""
        return self.path.absolute().parent.parent

    def runs(self) -> list[Run]:
        """Return the runs whose manifests name this study, the newest first."""
        runs = load_runs(self.root, self.record.recipe)
        return [run for run in runs if run.manifest.inputs.study == self.digest]

    def members(self) -> list[tuple[StudyMember, Run | None]]:
        """Return each member with its newest run, a finished one where there is one."""
        return self._members_of(self.runs())

    def _members_of(self, runs: Sequence[Run]) -> list[tuple[StudyMember, Run | None]]:
        by_identity: dict[str, Run] = {}
        for run in runs:
            own = identity(run.manifest.inputs.recipe.values)
            known = by_identity.setdefault(own, run)
            if known.status != "finished" and run.status == "finished":
                by_identity[own] = run
        return [(member, by_identity.get(member.identity)) for member in self.record.members]

    def verify(self) -> tuple[str, int]:
        """Compare the runs with the record.

        Returns:
            The answer, and its exit code: 0 all members are there and no others, 1 not so.
        """
        problems, runs = [], self.runs()
        for member, run in self._members_of(runs):
            if run is None:
                problems.append(f"{' '.join(member.overrides)}: its run is not here")
            elif run.status != "finished":
                problems.append(f"{' '.join(member.overrides)}: {run.path.name} is {run.status}")
        known = {member.identity for member in self.record.members}
        for run in runs:
            if identity(run.manifest.inputs.recipe.values) not in known:
                problems.append(f"{run.path.name}: it names this study, which has no such run")
        if not problems:
            count = len(self.record.members)
            return f"same: all {count} runs of the study are here, and no others\n", 0
        return "\n  ".join([f"different: {problems[0]}", *problems[1:]]) + "\n", 1
