"""records.json: what `prepare` writes beside its records, so that any later change is an error.

The file names every file that belongs to the records, with size and SHA-256, and is itself
sealed by a SHA-256 over the rest of it. Where it is present, a record file that was changed,
cut, exchanged, removed or added is an error.
"""

import hashlib
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from tinybert.errors import InputError
from tinybert.recipe.task_types import LabelKind
from tinybert.strict_json import read_json

NAME = "records.json"
VOCABULARY = "vocab.txt"
"""The vocabulary, beside what was made with it: records, the checkpoints of a run, an export."""
QUESTIONS = "questions.json"
WINDOWS = "windows.safetensors"
"""What records of answers have beside them; see `data.questions`."""
_RESTORE = "restore the directory as it was prepared, or prepare it anew"


@dataclass(frozen=True)
class TokenizerOptions:
    """How BERT's tokenizer reads text before it looks pieces up: equal for equal ids."""

    lowercase: bool
    """`do_lower_case`."""
    strip_accents: bool
    """Whether accents are removed; uncased models do."""
    tokenize_chinese_chars: bool = True
    """Whether every Chinese character is a word."""

    @classmethod
    def resolve(
        cls, lowercase: bool, strip_accents: bool | None, tokenize_chinese_chars: bool | None
    ) -> "TokenizerOptions":
        """Return the options, with the defaults of transformers for those that are None."""
        accents = lowercase if strip_accents is None else strip_accents
        return cls(lowercase, accents, tokenize_chinese_chars is not False)

    def __str__(self) -> str:
        """Return the options of `prepare`."""
        options = ["--lowercase" if self.lowercase else "--cased"]
        if self.strip_accents != self.lowercase:
            options.append("--strip-accents" if self.strip_accents else "--no-strip-accents")
        if not self.tokenize_chinese_chars:
            options.append("--no-tokenize-chinese-chars")
        return " ".join(options)


class SidecarFile(BaseModel):
    """A file that `prepare` wrote."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    size: int
    """Bytes."""
    sha256: str
    rows: int | None = None
    """Rows of a record file; None for an index or a schema."""


class RecordedVocabulary(BaseModel):
    """The vocabulary that the token ids belong to."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sha256: str
    tokens: int
    lowercase: bool
    strip_accents: bool | None = None
    """None: as `lowercase`; then it is not in the file."""
    tokenize_chinese_chars: bool = True
    """Only false is in the file."""

    @classmethod
    def of(cls, sha256: str, tokens: int, options: TokenizerOptions) -> "RecordedVocabulary":
        """Return the entry of records that were made with some tokenizer options."""
        accents = None if options.strip_accents == options.lowercase else options.strip_accents
        return cls(
            sha256=sha256,
            tokens=tokens,
            lowercase=options.lowercase,
            strip_accents=accents,
            tokenize_chinese_chars=options.tokenize_chinese_chars,
        )

    @property
    def tokenizer(self) -> TokenizerOptions:
        """The options of the tokenizer."""
        return TokenizerOptions.resolve(
            self.lowercase, self.strip_accents, self.tokenize_chinese_chars
        )

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        if self.strip_accents is None:
            del content["strip_accents"]
        if self.tokenize_chinese_chars:
            del content["tokenize_chinese_chars"]
        return content


class PreparedTask(BaseModel):
    """What the labels of records mean, and how their rows were made."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    """A task of GLUE, `TNEWS`, one of questions, `cluener`, `conll`, or `table`."""
    label: LabelKind | None
    """One class or one number a row, any number of classes a row, one class a token, or
    the place of an answer's first and last token; null: rows have no labels."""
    labels: Annotated[tuple[str, ...], Field(strict=False)] | None
    """Label names in the order of their ids; None for numbers."""
    label_counts: Annotated[tuple[int, ...], Field(strict=False)] | None = None
    """How often each is there, in the same order."""
    ignored_label: int | None = None
    """Label id of a token that is neither trained on nor measured."""
    columns: dict[str, str]
    """Columns of the raw files by role: `text`, `text_pair`, `label`."""
    truncation: Literal["longest_first"] = "longest_first"
    """Tokens go from the end of the longer text until the row fits."""


class PreparedPairs(BaseModel):
    """How rows of two segments were drawn from a corpus."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    seed: int
    short_documents: float
    """Share of documents whose rows are not filled."""
    recent_documents: int
    """Number of documents before its own that a random second segment is taken from."""


class PreparedAugmentation(BaseModel):
    """How augmented rows were made; Jiao et al., arXiv 1909.10351, algorithm 1."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    table: str
    """The file, JSON lines, that has the texts of each record in their order, the `row` of the raw
    files that it comes from, counted from 0, and the `sample`: 0 for the row itself."""
    one_piece_words: Literal["masked_lm", "embeddings", "word_vectors"]
    """Where candidates for words that are one piece of the vocabulary come from."""
    other_words: Literal["word_vectors"] | None
    """Where those for other words come from; None: these words stay."""
    network_sha256: str | None
    """Digest of the tensors of the network that gave candidates."""
    word_vectors_sha256: str | None
    """Of the file of word vectors."""
    kept_words_sha256: str | None
    """Of the file of words that stay."""
    context: Literal["text", "text_and_original"] | None
    """What the network that predicts a masked word reads; None: none does."""
    threshold: float
    """Probability by which a word is replaced."""
    candidates: int
    """Most candidates for a word."""
    samples: int
    """Augmented rows of a row, before duplicates are dropped."""
    seed: int
    arithmetic: Literal["portable"] = "portable"
    """Of networks and similarities: candidates are those of every processor with AVX2."""


class PreparedWindows(BaseModel):
    """How long texts were cut into rows."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    stride: int
    """Tokens of a context between the beginnings of two windows."""
    max_question_length: int
    """Tokens of a question that are read."""


class Sidecar(BaseModel):
    """The content of a records.json."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1] = 1
    dataset_type: Literal["tfrecord", "mindrecord"]
    seq_length: int
    rows: int
    vocabulary: RecordedVocabulary
    task: PreparedTask | None = None
    """None where records have no labels; then it is not in the file."""
    pairs: PreparedPairs | None = None
    """None where rows of a corpus have one segment; then it is not in the file."""
    augmentation: PreparedAugmentation | None = None
    """None where rows are those of the raw files alone; then it is not in the file."""
    windows: PreparedWindows | None = None
    """None where a text has one row; then it is not in the file."""
    counts: dict[str, int]
    """What was read and written: documents, sentences, tokens and so on."""
    versions: dict[str, str]
    """Versions of the programs that shaped the bytes."""
    files: tuple[SidecarFile, ...] = Field(strict=False)

    def to_bytes(self) -> bytes:
        """Return the file's content, sealed."""
        optional = ("task", "pairs", "augmentation", "windows")
        absent = {name for name in optional if getattr(self, name) is None}
        content = self.model_dump(mode="json", exclude=absent)
        return (json.dumps({**content, "sha256": _seal(content)}, indent=2) + "\n").encode()

    def check_file(self, path: Path, sha256: str | None = None) -> None:
        """Compare a file that belongs to the records with its entry.

        Args:
            path: The file.
            sha256: Its digest; None: only its size is compared.

        Raises:
            InputError: It is missing, or was added, changed, cut, or exchanged.
        """
        entry = next((file for file in self.files if file.name == path.name), None)
        if entry is None:
            raise InputError(
                f"the file was added to prepared records: {NAME} does not list it",
                where=str(path),
                cure="move it to a directory of its own",
            )
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if size != entry.size:
            change = f"it has {size} bytes, {entry.size} when prepared"
        elif sha256 not in (None, entry.sha256):
            change = f"its SHA-256 is {sha256}, not {entry.sha256}"
        else:
            return
        message = f"the file was changed after it was prepared: {change}"
        raise InputError(message, where=str(path), cure=_RESTORE)


def load_sidecar(directory: Path) -> Sidecar | None:
    """Read the records.json of a directory, if it has one.

    Raises:
        InputError: It cannot be read, or was changed.
    """
    path = directory / NAME
    try:
        content = read_json(path)
        seal = content.pop("sha256")
        if seal != _seal(content):
            raise InputError(
                "the file was changed after it was made", where=str(path), cure=_RESTORE
            )
        return Sidecar.model_validate(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        message = "the file is not what `prepare` writes"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            message += f": `{'.'.join(map(str, first['loc']))}`: {first['msg']}"
        raise InputError(message, where=str(path), cure=_RESTORE) from error


def check_missing(directory: Path, sidecar: Sidecar, pattern: str, names: set[str]) -> None:
    """Check that no prepared record file is missing.

    Args:
        directory: Where they were.
        sidecar: Its records.json.
        pattern: Glob of the record files that should be there.
        names: Names of those that are.

    Raises:
        InputError: One is missing.
    """
    for file in sidecar.files:
        wanted = file.rows is not None and fnmatchcase(file.name, pattern)
        if wanted and file.name not in names:
            where = str(directory / file.name)
            raise InputError("a prepared record file is missing", where=where, cure=_RESTORE)


def _seal(content: dict[str, object]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
