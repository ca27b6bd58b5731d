"""The record files of a run: which they are, and what can be checked before reading them."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinybert.data import sidecar
from tinybert.data.mindrecord import check_mindrecord, index_path
from tinybert.data.rows import RowFormat
from tinybert.data.schema import check_rows, load_schema
from tinybert.data.tfrecord import count_records
from tinybert.errors import InputError, collect
from tinybert.files import FileDigest, digest_files

DatasetType = Literal["tfrecord", "mindrecord"]

_FIND_CURE = "let the recipe name a record file, a directory of them, or a glob"
_COMPANIONS = (".json", ".jsonl", ".db", ".txt", ".md", ".safetensors")


@dataclass(frozen=True)
class RecordSource:
    """Record files, in the order of their paths, and what they must hold."""

    paths: tuple[Path, ...]
    """Record files, sorted."""
    dataset_type: DatasetType
    schema: Path | None
    """TFRecord schema file."""
    format: RowFormat
    """What a record holds."""

    @classmethod
    def find(
        cls,
        data_dir: str,
        root: Path,
        *,
        dataset_type: DatasetType,
        schema_dir: str | None,
        format: RowFormat,
    ) -> "RecordSource":
        """Resolve a recipe's `data_dir`: a record file, a directory of them, or a glob.

        Args:
            data_dir: As in the recipe, relative to `root` or absolute.
            root: Directory that relative paths start from.
            dataset_type: Format of the record files.
            schema_dir: The TFRecord schema file, if any, as in the recipe.
            format: What a record holds.

        Raises:
            InputError: Nothing is there, the files are of both formats, or a file that belongs
                to prepared records is missing or was added.
        """
        paths = _select(data_dir, root, dataset_type)
        return cls(paths, dataset_type, None if schema_dir is None else root / schema_dir, format)

    @property
    def record_files(self) -> tuple[Path, ...]:
        """The record files and, for MindRecord, their indexes."""
        if self.dataset_type == "tfrecord":
            return self.paths
        return tuple(file for path in self.paths for file in (path, index_path(path)))

    def count(self, path: Path) -> int:
        """Return the rows of one record file, by its framing or its index.

        Raises:
            InputError: The file is missing, cut or damaged, as far as that shows without
                reading every row.
        """
        if self.dataset_type == "tfrecord":
            return count_records(path)
        return check_mindrecord(path, self.format.columns)

    def digest_files(self) -> tuple[FileDigest, ...]:
        """Hash every file that is read, and check them by the records.json beside them.

        Returns:
            Record files and indexes, the schema, and the records.json files.

        Raises:
            InputError: A file cannot be read, or prepared records were changed.
        """
        sidecars = self.sidecars()
        extra = [] if self.schema is None else [self.schema]
        extra += [directory / sidecar.NAME for directory, _ in sidecars]
        extra += self._questions(sidecars)
        files = digest_files([*self.record_files, *extra])
        for directory, prepared in sidecars:
            for file in files:
                if file.path.parent == directory and file.path.name != sidecar.NAME:
                    prepared.check_file(file.path, file.sha256)
            self.check_seq_length(directory, prepared)
        return files

    def _questions(self, sidecars: Sequence[tuple[Path, sidecar.Sidecar]]) -> list[Path]:
        """Return what records of answers have beside them."""
        names = (sidecar.QUESTIONS, sidecar.WINDOWS)
        return [
            directory / file.name
            for directory, prepared in sidecars
            for file in prepared.files
            if file.name in names
        ]

    def check_schema(self, rows: int | None) -> None:
        """Check that the schema fits the columns that are read, and its numRows `rows`.

        Raises:
            InputError: The schema is malformed, or does not fit.
        """
        if self.schema is not None:
            schema = load_schema(self.schema, self.format.columns)
            if rows is not None:
                check_rows(self.schema, schema, rows)

    def check_seq_length(self, directory: Path, prepared: sidecar.Sidecar) -> None:
        """Compare the row length that prepared records state with the recipe's.

        Raises:
            InputError: They differ.
        """
        if prepared.seq_length != self.format.seq_length:
            raise InputError(
                f"the records hold {prepared.seq_length} tokens a row, seq_length is "
                f"{self.format.seq_length}",
                where=str(directory / sidecar.NAME),
                cure="prepare the records anew with this seq_length, or correct the recipe",
            )

    def sidecars(self) -> list[tuple[Path, sidecar.Sidecar]]:
        """Return (directory, content) of each records.json beside the record files.

        Raises:
            InputError: One cannot be read, or was changed.
        """
        directories = sorted({path.parent for path in self.paths})
        loaded = [(directory, sidecar.load_sidecar(directory)) for directory in directories]
        return [(directory, prepared) for directory, prepared in loaded if prepared is not None]


@dataclass(frozen=True)
class Inspection:
    """Result of looking at record files without reading every row."""

    rows: int | None
    """Rows of all files; None if one of them cannot be counted."""
    problems: tuple[InputError, ...]


def inspect(source: RecordSource) -> Inspection:
    """Check record files without importing them: presence, sidecar, schema, row counts.

    Damage inside a row, and values that are not legal, are found by the import alone.
    """
    problems: list[InputError] = []
    counts = []
    for path in source.paths:
        with collect(problems):
            counts.append(source.count(path))
    rows = sum(counts) if len(counts) == len(source.paths) else None
    with collect(problems):
        for directory, prepared in source.sidecars():
            for path in source.record_files:
                if path.parent == directory:
                    prepared.check_file(path)
            source.check_seq_length(directory, prepared)
    with collect(problems):
        source.check_schema(rows)
    return Inspection(rows, tuple(problems))


def _select(data_dir: str, root: Path, dataset_type: DatasetType) -> tuple[Path, ...]:
    """Return the sorted record files that a path, a directory or a glob names."""
    path = root / data_dir
    pattern = "*"
    if path.is_dir():
        files = _record_files(path)
    elif path.is_file():
        files, pattern = [path], path.name
    elif glob.has_magic(data_dir):
        files = [root / name for name in glob.glob(data_dir, root_dir=root, recursive=True)]
        files = _regular_files(file for file in files if not file.is_dir())
        pattern = path.name
    elif path.exists():
        raise _irregular(path)
    else:
        raise InputError("no such file or directory", where=str(path), cure=_FIND_CURE)
    for directory in {file.parent for file in files} | ({path} if path.is_dir() else set()):
        prepared = sidecar.load_sidecar(directory)
        if prepared is not None:
            names = {file.name for file in files if file.parent == directory}
            sidecar.check_missing(directory, prepared, pattern, names)
    if not files:
        what = "holds no record file" if path.is_dir() else "names no file"
        raise InputError(f"data_dir {what}", where=str(path), cure=_FIND_CURE)
    for file in files:
        if _kind(file) not in (None, dataset_type):
            raise InputError(
                f'by its name this is no {dataset_type} file; dataset_type is "{dataset_type}"',
                where=str(file),
                cure="correct dataset_type, or name the record files by a glob",
            )
    return tuple(sorted(files))


def _record_files(directory: Path) -> list[Path]:
    entries = [path for path in directory.iterdir() if _kind(path) or not path.is_dir()]
    files = _regular_files(entries)
    for path in files:
        if _kind(path) is None:
            raise InputError(
                "the name does not say whether this is a record file: it has neither "
                "`tfrecord` nor `mindrecord` in it",
                where=str(path),
                cure="move it elsewhere, or name the record files by a glob",
            )
    return files


def _regular_files(entries: Iterable[Path]) -> list[Path]:
    """Return files in sorted order, without those that stand beside records.

    Raises:
        InputError: One of the others is no regular file.
    """
    files = sorted(path for path in entries if not _is_companion(path))
    for path in files:
        if not path.is_file():
            raise _irregular(path)
    return files


def _irregular(path: Path) -> InputError:
    return InputError("this is no regular file", where=str(path), cure=_FIND_CURE)


def _kind(path: Path) -> DatasetType | None:
    name = path.name.lower()
    if "mindrecord" in name:
        return "mindrecord"
    return "tfrecord" if "tfrecord" in name or "tf_record" in name else None


def _is_companion(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix in _COMPANIONS
