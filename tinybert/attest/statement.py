"""in-toto statements about runs, exports and audits.

Sources: https://in-toto.io/Statement/v1; https://slsa.dev/provenance/v1. A subject is a file, named
relative to the run's root, with its SHA-256.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.errors import InputError
from tinybert.files import digest_change, digest_file, digest_files, relative_to
from tinybert.manifest.document import Run, is_below
from tinybert.manifest.exported import RECORD_FILE, Exported
from tinybert.manifest.record import TRACE
from tinybert.strict_json import parse_json

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
AUDIT = "urn:tinybert:audit:v1"
"""The type of an auditor's predicate about a run."""
RUN_TYPE = "urn:tinybert:run:v1"
EXPORT_TYPE = "urn:tinybert:export:v1"
"""What SLSA calls the type of a build: how to read its parameters."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """A predicate about some files."""

    subjects: Mapping[str, str]
    """SHA-256 of each file, by its path relative to the run's root, or to the export."""
    kind: str
    """The predicate's type."""
    predicate: Json

    def encode(self) -> bytes:
        """Return the statement's JSON."""
        document = {
            "_type": STATEMENT,
            "subject": [_resource(name, sha256) for name, sha256 in self.subjects.items()],
            "predicateType": self.kind,
            "predicate": self.predicate,
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def decode(cls, payload: bytes, path: Path) -> "Statement":
        """Read the payload of the envelope at a path.

        Raises:
            InputError: It is no statement about files.
        """
        try:
            document = parse_json(payload, exact_integers=True)
            subjects = {each["name"]: each["digest"]["sha256"] for each in document["subject"]}
            kind, predicate = document["predicateType"], document["predicate"]
            right = document["_type"] == STATEMENT and all(map(is_below, subjects))
            right = right and isinstance(predicate, dict)
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise InputError("the envelope holds no in-toto statement", where=str(path)) from error
        if not right:
            raise InputError("the envelope holds no statement about files", where=str(path))
        return cls(subjects, kind, predicate)

    @property
    def lines(self) -> list[str]:
        """The report in an auditor's statement; empty for other statements."""
        text = self.predicate.get("report") if self.kind == AUDIT else None
        return [f"  {line}" for line in text.splitlines()] if isinstance(text, str) else []

    def changes(self, about: Path, root: Path) -> list[str]:
        """Return which files are not those that the statement is about.

        Args:
            about: The manifest, or the record of an export, which must be one of them.
            root: What the names of the files start from.
        """
        own = digest_file(about).sha256
        if own not in self.subjects.values():
            return [f"the statement is not about {about.name}: its SHA-256 is {own}"]
        files = digest_files(path for name in self.subjects if (path := root / name).is_file())
        now = {file.path: file.sha256 for file in files}
        return [
            f"{name}, which was signed: {change}"
            for name, signed in self.subjects.items()
            if (change := digest_change(now.get(root / name), signed))
        ]


def run_statement(run: Run) -> Statement:
    """Return the statement about a finished run: its inputs gave its manifest and checkpoints.

    Raises:
        InputError: One of its files is gone.
    """
    inputs, volatile = run.manifest.inputs, run.manifest.volatile
    outputs = [run.path, *(run.folder / c.file for c in run.manifest.outcome.every_checkpoint())]
    environment = run.manifest.environment
    recipe, code = inputs.recipe, inputs.code
    definition = {
        "buildType": RUN_TYPE,
        "externalParameters": {
            "recipe": recipe.text,
            "overrides": recipe.overrides,
            "seeds": inputs.seeds,
        },
        "internalParameters": {
            "recipe_digest": recipe.digest,
            "bits_digest": environment and environment.bits_digest,
        },
        "resolvedDependencies": [
            _program(code.digest, code.commit),
            *(_resource(file.path, file.sha256) for file in inputs.files),
        ],
    }
    details = {
        "builder": {"id": RUN_TYPE, "version": {"program": code.digest}},
        "metadata": {
            "invocationId": volatile.run_id,
            "startedOn": _second(volatile.created),
            "finishedOn": _second(volatile.ended or volatile.created),
        },
        "byproducts": _byproducts([run.folder / TRACE], run.root),
    }
    digests = run.manifest.digests
    predicate = {
        "buildDefinition": definition,
        "runDetails": details,
        "tinybert_outcome": {"outcome_digest": digests.outcome, "inputs_digest": digests.inputs},
    }
    return Statement(_subjects(outputs, run.root), PROVENANCE, predicate)


def export_statement(export: Exported) -> Statement:
    """Return the statement about an export: a checkpoint gave its files.

    Raises:
        InputError: One of its files is gone.
    """
    content, folder = export.content, export.path.parent
    files = [export.path, *(folder / file.name for file in content.files)]
    source = content.source
    predicate = {
        "buildDefinition": {
            "buildType": EXPORT_TYPE,
            "externalParameters": {"format": content.format},
            "internalParameters": {},
            "resolvedDependencies": [
                _program(content.program.digest, content.program.commit),
                _resource(source.checkpoint, source.sha256),
            ],
        },
        "runDetails": {
            "builder": {"id": EXPORT_TYPE, "version": content.versions},
        },
        "tinybert_outcome": {"outcome_digest": source.outcome_digest},
    }
    return Statement(_subjects(files, folder), PROVENANCE, predicate)


def audit_statement(run: Run, predicate: Json) -> Statement:
    """Return the statement of an auditor about a run."""
    return Statement(_subjects([run.path], run.root), AUDIT, predicate)


def envelope_of(manifest: Path) -> Path:
    """Return where the signed statement about a run or an export is."""
    return manifest.with_suffix(".intoto.json")


def root_of(about: Path) -> Path:
    """Return what the names of a statement's files start from."""
    folder = about.absolute().parent
    return folder if about.name == RECORD_FILE else Run.load(about).root


def _subjects(files: Iterable[Path], root: Path) -> dict[str, str]:
    return {relative_to(file.path, root): file.sha256 for file in digest_files(files)}


def _byproducts(files: Iterable[Path], root: Path) -> list[Json]:
    """Return those of some files that exist."""
    subjects = _subjects([file for file in files if file.is_file()], root)
    return [_resource(name, sha256) for name, sha256 in subjects.items()]


def _program(digest: str, commit: str | None) -> Json:
    other = {} if commit is None else {"gitCommit": commit}
    return _resource("program", digest, **other)


def _resource(name: str, sha256: str, **digests: str) -> Json:
    """Return in-toto's descriptor of a file, or of the program, with further digests."""
    return {"name": name, "digest": {"sha256": sha256, **digests}}


def _second(time: str) -> str:
    """Return a time in UTC without the parts of its second, as SLSA writes it."""
    return time.partition(".")[0] + "Z"
