"""Text files: documents, paragraphs, sentences.

A file has one of three formats, which its first line that is not blank shows:

- `wiki`, text of WikiExtractor: it begins with `<doc `. Each `<doc ...>` to `</doc>` is a document;
  its first line is the title, and is left out.
- `jsonl`, JSON lines, as of WikiExtractor with --json: it begins with `{`. Each object is a
  document, its `text` a text.
- `text`, anything else: a blank line ends a document, as in BERT's and TinyBERT's own format.

A line of a text that is not blank is a paragraph.
"""

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from tinybert.errors import InputError
from tinybert.prepare.reading import Advance, ignore_advance, read_lines, read_objects

TextFormat = Literal["text", "wiki", "jsonl"]
Paragraphs = Iterator[tuple[int, str]]
"""Document, counted from 0, and paragraph."""

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
        files = sorted(file for file in files if not file.is_dir())
        if not files:
            raise InputError("the input names no text file", where=name)
        texts += files
    return texts


def paragraphs(
    path: Path, input_format: TextFormat | None, advance: Advance = ignore_advance
) -> Paragraphs:
    """Yield the paragraphs of a file, without blank ones and without white space around them.

    Raises:
        InputError: The file cannot be read, is not UTF-8, or does not have the format.
    """
    readers: dict[TextFormat, Callable[[Path, Advance], Paragraphs]] = {
        "text": _read_plain,
        "wiki": _read_wiki,
        "jsonl": _read_json,
    }
    format = input_format or _format_by_first_line(path)
    try:
        yield from readers[format](path, advance)
    except InputError as error:
        if input_format is None and not error.cure:
            error.cure = f"it was read as {format}; name another format with --input-format"
        raise


def _format_by_first_line(path: Path) -> TextFormat:
    first = next((line for _, line in read_lines(path) if line.strip()), "")
    if first.lstrip().startswith(_DOC):
        return "wiki"
    return "jsonl" if first.lstrip().startswith("{") else "text"


def _read_plain(path: Path, advance: Advance) -> Paragraphs:
    document, begun = 0, False
    for number, line in read_lines(path, advance):
        text = line.strip()
        if text.startswith(_DOC) or text == _END:
            message = f"a mark of WikiExtractor in plain text: {text[:20]}"
            raise InputError(message, where=f"{path}:{number}")
        if text:
            yield document, text
        document += begun and not text
        begun = bool(text)


def _read_wiki(path: Path, advance: Advance) -> Paragraphs:
    document = number = 0
    inside = title = False
    for number, line in read_lines(path, advance):
        text = line.strip()
        if text.startswith(_DOC) or text == _END:
            if inside == (text != _END):
                raise InputError(f"unexpected {text[:5]}", where=f"{path}:{number}")
            inside = title = text != _END
            document += not inside
        elif text and not inside:
            raise InputError("text between two documents", where=f"{path}:{number}")
        elif title:
            title = False
        elif text:
            yield document, text
    if inside:
        raise InputError("the file ends inside a document", where=f"{path}:{number}")


def _read_json(path: Path, advance: Advance) -> Paragraphs:
    for document, (where, value) in enumerate(read_objects(path, advance)):
        text = value.get("text")
        if not isinstance(text, str):
            raise InputError("`text` is missing, or no text", where=where)
        yield from ((document, line.strip()) for line in text.split("\n") if line.strip())


def split_sentences(paragraph: str) -> list[str]:
    """Split after `.`, `!`, `?` before white space and a word that does not begin with a-z.

    Abbreviations before a capital split too: sentences only decide where a row may end.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(paragraph)]
    starts = [0, *ends]
    pieces = [paragraph[a:b].strip() for a, b in zip(starts, [*ends, None], strict=True)]
    return [piece for piece in pieces if piece]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
