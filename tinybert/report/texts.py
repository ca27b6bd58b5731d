"""The texts of an evaluation's rows, from the token ids in its record files.

They are what the network read: cut to its length, in small letters for an uncased vocabulary, and
`[UNK]` where the vocabulary has no piece.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from tinybert.data.example import Column, ExampleError, decode_examples
from tinybert.data.sidecar import VOCABULARY, load_sidecar
from tinybert.data.tfrecord import read_records
from tinybert.errors import InputError
from tinybert.files import digest_file, read_file
from tinybert.manifest.document import TOKENIZER_FOLDER, Run

PIECE = "##"
"""What a piece begins with that continues a word."""
_OUTER = ("[CLS]", "[PAD]")
_SEP = "[SEP]"
_WIDE = "[\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]"
_BETWEEN_WIDE = re.compile(f"(?<={_WIDE}) (?={_WIDE})")


class RowTexts:
    """The pieces of some rows, by row.

    Args:
        pieces: Of each row, special tokens included.
    """

    def __init__(self, pieces: dict[int, list[str]]) -> None:
        self._pieces = pieces

    @classmethod
    def read(cls, run: Run, rows: Iterable[int]) -> "RowTexts":
        """Read rows of an evaluation; `rows` count from 0 in the order of its record files.

        Raises:
            InputError: The records or the vocabulary are not here, or are others; or the records
                are MindRecord files, which the framework alone reads.
        """
        data = run.manifest.inputs.recipe.values.get("data") or {}
        if data.get("dataset_type") != "tfrecord":
            raise InputError("texts are shown of TFRecord files alone")
        tokens = _vocabulary(run)
        column = Column("input_ids", "int", data.get("seq_length", 0))
        wanted = set(rows)
        records = enumerate(islice(_payloads(run), max(wanted, default=-1) + 1))
        return cls({row: _decode(row, r, column, tokens) for row, r in records if row in wanted})

    def text(self, row: int) -> str:
        """Return a row's text; ` | ` stands between the two of a pair."""
        words = [piece for piece in self._pieces[row] if piece not in _OUTER]
        parts = _split(words)
        return " | ".join(join_pieces(part) for part in parts)

    def span(self, row: int, first: int, last: int) -> str:
        """Return the text from the word that begins at token `first` to the one at `last`."""
        pieces, end = self._pieces[row], last + 1
        while end < len(pieces) and pieces[end].startswith(PIECE):
            end += 1
        return join_pieces(pieces[first:end])


def join_pieces(pieces: Sequence[str]) -> str:
    """Return the text of pieces; Chinese characters stand without spaces."""
    return _BETWEEN_WIDE.sub("", " ".join(pieces).replace(f" {PIECE}", ""))


def _split(pieces: Sequence[str]) -> list[list[str]]:
    """Return what stands before each separator."""
    parts: list[list[str]] = [[]]
    for piece in pieces:
        if piece == _SEP:
            parts.append([])
        else:
            parts[-1].append(piece)
    return [part for part in parts if part]


def _decode(row: int, payload: bytes, column: Column, tokens: Sequence[str]) -> list[str]:
    try:
        ids = decode_examples([payload], [column])[column.name][0].tolist()
    except ExampleError as error:
        raise InputError(f"row {row}: {error.message}") from error
    if not all(0 <= id < len(tokens) for id in ids):
        raise InputError(f"row {row} has a token id that the vocabulary has not")
    return [tokens[int(id)] for id in ids]


def _payloads(run: Run) -> Iterator[bytes]:
    """Yield the records of an evaluation, whose files are compared with their digests before."""
    files = [file for file in run.manifest.inputs.files if file.role == "eval_data"]
    paths = [run.root / file.path for file in files]
    for path, file in zip(paths, files, strict=True):
        if digest_file(path).sha256 != file.sha256:
            raise InputError("the records are not those that were evaluated", where=str(path))
    yield from (payload for _, payload in chain.from_iterable(map(read_records, paths)))


def _vocabulary(run: Run) -> list[str]:
    """Return the tokens of a run's vocabulary, which is that of its records if they name one."""
    path = run.folder / TOKENIZER_FOLDER / VOCABULARY
    try:
        content = read_file(path)
        tokens = content.decode().split("\n")
    except OSError as error:
        raise InputError("the run kept no vocabulary", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("the vocabulary is damaged", where=str(path)) from error
    for file in run.manifest.inputs.files:
        if file.role == "sidecar":
            prepared = load_sidecar((run.root / file.path).parent)
            if prepared and prepared.vocabulary.sha256 != digest_file(path).sha256:
                message = "the vocabulary is not that of the records"
                raise InputError(message, where=str(path))
    return tokens[:-1]
