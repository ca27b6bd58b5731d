"""Plain text and WikiExtractor files: documents, paragraphs, sentences.

A WikiExtractor file begins with `<doc `; each `<doc ...>` to `</doc>` is a document, its first
line is the title and is left out. Any other file is one document. A line is a paragraph.
"""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinybert.errors import InputError

_DOC = "<doc "
_END = "</doc>"
# A full stop, question or exclamation mark, closing quotes and brackets, then white space and a
# word that does not begin with a-z; or a mark of East Asian text, which no white space follows.
_SENTENCE_END = re.compile(
    r"""[.!?]["')\]”’]*\s+(?=\W{0,8}(?![a-z])\w)|[。！？]["')\]”’」』）]*"""  # noqa: RUF001
)


def find_texts(inputs: Sequence[str]) -> list[Path]:
    """Return the text files that files, directories (with all below them) and globs name.

    They keep the order of `inputs`; within a directory or a glob they are sorted. Hidden files
    are left out.

    Raises:
        InputError: One of the inputs names no file.
    """
    texts: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = [file for file in path.rglob("*") if not _hidden(file.relative_to(path))]
        else:
            files = [path] if path.exists() else [Path(match) for match in glob.glob(name)]
        files = sorted(file for file in files if file.is_file())
        if not files:
            raise InputError("the input names no text file", where=name)
        texts += files
    return texts


def paragraphs(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield (document, counted from 0; paragraph; its size in bytes), without blank lines.

    Raises:
        InputError: The file cannot be read, is not UTF-8, or its `<doc>` marks do not match.
    """
    document = 0
    wiki = inside = title = False
    number = 0
    for number, (text, size) in enumerate(_lines(path), start=1):
        if number == 1:
            wiki = text.startswith(_DOC)
        if wiki and (text.startswith(_DOC) or text == _END):
            if inside == (text != _END):
                raise InputError(f"unexpected {text[:5]}", where=f"{path}:{number}")
            inside = title = text != _END
            document += not inside
        elif wiki and text and not inside:
            raise InputError("text between two documents", where=f"{path}:{number}")
        elif title:
            title = False
        elif text:
            yield document, text, size
    if inside:
        raise InputError("the file ends inside a document", where=f"{path}:{number}")


def split_sentences(paragraph: str) -> list[str]:
    """Split after `.`, `!`, `?` before white space and a word that does not begin with a-z.

    Abbreviations before a capital split too: sentences only decide where a row may end.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(paragraph)]
    starts = [0, *ends]
    pieces = [paragraph[a:b].strip() for a, b in zip(starts, [*ends, None], strict=True)]
    return [piece for piece in pieces if piece]


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (line without surrounding white space, its size in bytes)."""
    offset = 0
    try:
        with open(path, "rb") as file:
            for line in file:
                yield line.decode().strip(), len(line)
                offset += len(line)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError(
            "the text is not UTF-8",
            where=f"{path}, byte {offset + error.start}",
            cure="convert the file, for example with iconv",
        ) from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
