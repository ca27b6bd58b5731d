"""tokenizer.json: a tokenizer in one file, as Hugging Face's fast tokenizers write it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.errors import InputError
from tinybert.prepare.reading import BLANKS
from tinybert.strict_json import read_json

TOKENIZER = "tokenizer.json"
MODEL = "WordPiece"
_MAX_BYTES = 1 << 28


def read_tokenizer_file(path: Path, *, required: bool = False) -> Mapping[str, Any]:
    """Return the content of a tokenizer's JSON file; of a missing one, nothing.

    Raises:
        InputError: It cannot be read, holds no table, or is missing and `required`.
    """
    try:
        content = read_json(path, limit=_MAX_BYTES)
        if not isinstance(content, dict):
            raise ValueError("it is no table")
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not required:
            return {}
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise InputError(f"not a file of a tokenizer: {error}", where=str(path)) from error
    return content


def member(value: Any, key: str) -> Any:
    """Return a member of a table; of anything else, None."""
    return value.get(key) if isinstance(value, dict) else None


def has_wordpiece(path: Path) -> bool:
    """Return whether a tokenizer.json is there and has a WordPiece vocabulary.

    Raises:
        InputError: As `read_tokenizer_file`.
    """
    return bool(member(read_tokenizer_file(path).get("model"), "type") == MODEL)


def read_wordpiece(path: Path) -> dict[str, int]:
    """Return the ids of a tokenizer.json's tokens, in ascending order.

    Raises:
        InputError: As `read_tokenizer_file`; or the model is not WordPiece; or no vocab.txt can
            list the tokens: their ids have gaps, or one of them is no line of text.
    """
    model = read_tokenizer_file(path, required=True).get("model")
    vocab = member(model, "vocab")
    if member(model, "type") != MODEL or not isinstance(vocab, dict):
        raise InputError(f"the file holds no vocabulary of {MODEL}", where=str(path))
    tokens: dict[int, str] = {id: token for token, id in vocab.items() if type(id) is int}
    ids: dict[str, int] = {}
    for id in range(len(vocab)):
        token = tokens.get(id)
        if token is None:
            message = f"the vocabulary has {len(vocab):,} tokens, and none has id {id}"
            raise InputError(message, where=str(path))
        if not token.strip(BLANKS) or "\n" in token or token.endswith("\r"):
            message = f"token {token!r}, id {id}, is no line of text"
            raise InputError(message, where=str(path))
        ids[token] = id
    return ids
