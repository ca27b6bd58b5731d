"""The record of an export, `export.json`: what was exported from what, and its files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.files import FileDigest, digest_change, digest_file
from tinybert.manifest.canonical import to_json
from tinybert.manifest.leaf import Section
from tinybert.manifest.model import Number
from tinybert.manifest.sealed import encode_sealed, read_sealed
from tinybert.recipe.network import HeadConfig, NetworkConfig

RECORD_FILE = "export.json"
"""The record's name, which no run's manifest has."""


@dataclass(frozen=True, kw_only=True)
class ExportSource(Section):
    """Where an exported network comes from."""

    checkpoint: str
    """The file; relative to the run's root, or to the working directory, if it lies below it."""
    sha256: str
    """SHA-256 of the file's bytes."""
    tensor_digest: str
    """SHA-256 over the network's tensors, whatever the file format."""
    manifest: str | None = None
    """The run that left the checkpoint; absent with the next two where no run is known."""
    stage: str | None = None
    outcome_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExportedNetwork(Section):
    """What the files compute, and what reads texts for it."""

    config: NetworkConfig
    head: HeadConfig | None
    labels: tuple[str, ...] | None
    seq_length: int
    """Most tokens of a row that it was trained on."""
    lowercase: bool | None
    strip_accents: bool | None = None
    """null: as `lowercase`; for all that decides how texts become rows: or not known."""
    tokenize_chinese_chars: bool | None = None
    characters: bool | None = None
    """Whether every character is a word to be tagged."""
    pairs: bool | None = None
    """Whether rows have two texts."""


@dataclass(frozen=True, kw_only=True)
class OutputDifference(Section):
    """How one output of one batch differs between the exported file and the network."""

    batch: int
    """Rows of the batch."""
    sequence: int
    """Tokens of each row."""
    output: str
    largest_difference: Number
    allowed: float


@dataclass(frozen=True, kw_only=True)
class ExportCheck(Section):
    """How the file was compared with the network, and what came of it."""

    how: str
    differences: tuple[OutputDifference, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExportedFile(Section):
    """A file of the export."""

    name: str
    size: int
    """Bytes."""
    sha256: str

    @classmethod
    def of(cls, file: FileDigest) -> "ExportedFile":
        """Return the entry of a file."""
        return cls(name=file.path.name, size=file.size, sha256=file.sha256)


@dataclass(frozen=True, kw_only=True)
class ExportProgram(Section):
    """The program that made the export; see `inputs.code` of a manifest."""

    digest: str
    commit: str | None
    dirty: bool | None


@dataclass(frozen=True, kw_only=True)
class ExportRecord(Section):
    """The content of export.json, without its seal."""

    format_version: int = 1
    format: str
    source: ExportSource
    network: ExportedNetwork
    opset: int | None = None
    inputs: dict[str, tuple[int | str, int | str]] | None = None
    """Batch and sequence of each input of a graph; a name where any size is taken."""
    outputs: tuple[str, ...] | None = None
    check: ExportCheck
    files: list[ExportedFile]
    program: ExportProgram
    versions: dict[str, str]

    def encode(self) -> bytes:
        """Return the content of export.json, sealed by its digest."""
        content = to_json(self) | {"source": _known(to_json(self.source))}
        return encode_sealed(_known(content))


@dataclass(frozen=True)
class Exported:
    """A record with where it is."""

    path: Path
    content: ExportRecord

    @classmethod
    def load(cls, path: Path) -> "Exported":
        """Read a record, and compare it with its seal.

        Raises:
            ManifestError: It is missing, is no such record, or was edited.
        """
        cure = "use the record as the export wrote it"
        record, _ = read_sealed(path, ExportRecord, name="record", of="an export", cure=cure)
        return cls(path, record)

    def manifest(self) -> Path | None:
        """Return where the manifest of the run is that left the network, if one did.

        The record names it relative to the run's root, which is looked for from the export
        upwards, then in the working directory.
        """
        if self.content.source.manifest is None:
            return None
        named = Path(self.content.source.manifest)
        folders = [*self.path.absolute().parents, Path.cwd()]
        return next((f / named for f in folders if (f / named).is_file()), named)

    def changes(self) -> list[str]:
        """Return how exported files differ from the record."""
        return [f"{f.name}: {how}" for f in self.content.files if (how := self._change(f))]

    def _change(self, file: ExportedFile) -> str:
        """Return how a file differs from its entry; empty where it does not."""
        place = self.path.parent / file.name
        now = digest_file(place).sha256 if place.is_file() else None
        return digest_change(now, file.sha256)


def _known(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table without the keys whose value is null."""
    return {key: value for key, value in table.items() if value is not None}
