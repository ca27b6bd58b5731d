"""The record of an export, `export.json`: what was exported from what, and its files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.errors import ManifestError
from tinybert.files import digest_file
from tinybert.manifest.canonical import digest

NAME = "export.json"
"""The record's name, which no run's manifest has."""


@dataclass(frozen=True)
class Exported:
    """A record with where it is."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Exported":
        """Read a record, and hold it against its seal.

        Raises:
            ManifestError: It is missing, is none, or was edited.
        """
        try:
            content = json.loads(path.read_bytes())
            seal = content.pop("sha256")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ManifestError(f"cannot read the record: {reason}", where=str(path)) from error
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise ManifestError("file is no record of an export", where=str(path)) from error
        if seal != digest(content):
            raise ManifestError(
                "the record was edited: its digest is not the recorded one",
                where=str(path),
                cure="use the record as the export wrote it",
            )
        return cls(path, content)

    @property
    def source(self) -> dict[str, Any]:
        """Where the network comes from: its checkpoint and, if a run left it, the manifest."""
        source: dict[str, Any] = self.content["source"]
        return source

    def manifest(self) -> Path:
        """Return where the run's manifest is: below the nearest folder that has it.

        The record names it relative to the run's root, which is looked for from the export
        upwards, then in the working directory.
        """
        named = Path(self.source["manifest"])
        folders = [*self.path.absolute().parents, Path.cwd()]
        return next((f / named for f in folders if (f / named).is_file()), named)

    def verify(self) -> tuple[str, int]:
        """Hold the exported files against the record.

        Returns:
            The answer, and its exit code: 0 all are as they were, 1 one is not.
        """
        changed = [
            f"{file['name']}: {how}" for file in self.content["files"] if (how := self._how(file))
        ]
        if not changed:
            return "same: every file is what it was\n", 0
        return "\n  ".join([f"different: {changed[0]}", *changed[1:]]) + "\n", 1

    def _how(self, file: dict[str, Any]) -> str:
        place = self.path.parent / file["name"]
        if not place.is_file():
            return "missing"
        return "" if digest_file(place).sha256 == file["sha256"] else "changed"
