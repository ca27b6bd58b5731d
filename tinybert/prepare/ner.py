"""`prepare ner`: CLUENER's JSON lines and the CoNLL format -> records with a tag a token.

A sentence is a list of words, each with a tag; in CLUENER every character is a word and tags are
BIO. A word's tag stays on its first piece; its other pieces, [CLS], [SEP] and padding carry
`IGNORED`. A word without pieces, such as white space, loses its tag.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from tinybert.data.labels import IGNORED, choose_labels, label_ids, unknown_label
from tinybert.data.sidecar import PreparedTask
from tinybert.errors import InputError
from tinybert.metrics.entities import check_tags, find_entities
from tinybert.prepare.encode import Example
from tinybert.prepare.reading import (
    BLANKS,
    Advance,
    Part,
    ignore_advance,
    part_of,
    read_lines,
    read_objects,
)
from tinybert.prepare.records import TaskTexts

CLUENER_TYPES = (
    *("address", "book", "company", "game", "government"),
    *("movie", "name", "organization", "position", "scene"),
)
_DOCUMENT = "-DOCSTART-"
_SEPARATORS = {"\t": "tabs", " ": "spaces"}

Sentence = tuple[str, list[str], list[str]]
"""Its place, its words, their tags."""


def ner_texts(
    inputs: Sequence[Path],
    *,
    input_format: Literal["cluener", "conll"],
    labels: Sequence[str] | None,
    labels_from: Path | None,
    part: Part | None = None,
) -> TaskTexts:
    """Return the sentences of files with a tag a word.

    `conll` files have a word a line, with its tag last, and a blank line after each sentence.
    Columns part at tabs if the first word's line has one, else at spaces; all lines of a file have
    as many. The ids of tags are in the order of `labels`, or of the prepared records `labels_from`;
    else of CLUENER's ten types, or of the tags of the CoNLL files: O first, then by type, B before
    I. `part` is the one of the files' sentences to take.

    Raises:
        InputError: A file cannot be read, or a line does not have the format.
        UsageError: The options contradict each other.
    """
    read = _read_cluener if input_format == "cluener" else _read_conll
    counts: Counter[str] = Counter(words=0, entities=0)
    if input_format == "cluener":
        counts["overlapping_entities"] = 0

    def read_tags() -> set[str]:
        if input_format == "cluener":
            return {"O", *(f"{place}-{kind}" for place in "BI" for kind in CLUENER_TYPES)}
        files = (read(path, ignore_advance, Counter()) for path in inputs)
        return {tag for sentences in files for _, _, tags in sentences for tag in tags}

    names = choose_labels(labels, labels_from, read_tags, sort_tags)
    check_tags(names)
    prepared = PreparedTask(
        name=input_format,
        label="token",
        labels=names,
        ignored_label=IGNORED,
        columns={"text": "text", "label": "label"} if input_format == "cluener" else {},
    )
    return TaskTexts(
        inputs,
        prepared,
        lambda path, advance: _examples(
            part_of(read(path, advance, counts), part, counts), names, counts
        ),
        counts,
    )


def sort_tags(tags: Iterable[str]) -> list[str]:
    """Sort tags: O, then by type, B before I."""
    return sorted(tags, key=lambda tag: (tag != "O", tag[2:], tag))


def _examples(
    sentences: Iterable[Sentence], names: Sequence[str], counts: Counter[str]
) -> Iterator[Example]:
    ids = label_ids(names)
    for where, words, tags in sentences:
        for tag in tags:
            if tag not in ids:
                raise unknown_label(tag, ids, where)
        counts["words"] += len(words)
        counts["entities"] += len(find_entities(tags))
        yield Example(where, [words], [ids[tag] for tag in tags])


def _read_conll(path: Path, advance: Advance, counts: Counter[str]) -> Iterator[Sentence]:
    words: list[str] = []
    tags: list[str] = []
    first, columns, separator = 1, 0, ""
    for number, line in chain(read_lines(path, advance), [(0, "")]):
        text = line.strip(BLANKS)
        if not text:
            if words:
                yield f"{path}:{first}", words, tags
            words, tags = [], []
        elif re.split("[ \t]", text, maxsplit=1)[0] != _DOCUMENT:
            separator = separator or ("\t" if "\t" in text else " ")
            cells = text.split("\t") if separator == "\t" else re.split(" +", text)
            columns = columns or len(cells)
            _check_cells(cells, columns, separator, f"{path}:{number}")
            first = first if words else number
            words.append(cells[0])
            tags.append(cells[-1])


def _check_cells(cells: Sequence[str], columns: int, separator: str, where: str) -> None:
    """Check one line of a CoNLL file."""
    if len(cells) < 2 or not cells[0]:
        raise InputError("the line is not a word and a tag", where=where)
    if len(cells) != columns:
        raise InputError(
            f"the line has {len(cells)} columns; those above have {columns}",
            where=where,
            cure=f"part columns by {_SEPARATORS[separator]} everywhere",
        )
    if separator == " " and any("\t" in cell for cell in cells):
        raise InputError("the line has a tab; columns above part at spaces", where=where)
    check_tags(cells[-1:], where)


def _read_cluener(path: Path, advance: Advance, counts: Counter[str]) -> Iterator[Sentence]:
    for where, value in read_objects(path, advance):
        text = value.get("text")
        if not isinstance(text, str):
            raise InputError("`text` is missing, or no text", where=where)
        tags = ["O"] * len(text)
        # The longer first: of overlapping entities only the longest fits into the tags.
        for start, end, kind in sorted(
            _spans(value, text, where), key=lambda span: (span[0] - span[1], span)
        ):
            if set(tags[start : end + 1]) != {"O"}:
                counts["overlapping_entities"] += 1
                continue
            tags[start : end + 1] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start)
        yield where, list(text), tags


def _spans(value: dict[str, Any], text: str, where: str) -> Iterator[tuple[int, int, str]]:
    """Yield (first, last, type) of the entities of a CLUENER sentence."""
    label = value.get("label")
    if not isinstance(label, dict):
        raise InputError(
            "`label` is missing, or no object",
            where=where,
            cure="records of tags need labels: predict a test set from its texts",
        )
    try:
        spans = [
            (start, end, kind, surface)
            for kind, surfaces in label.items()
            for surface, places in surfaces.items()
            for start, end in places
        ]
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "`label` is not {type: {surface: [[first, last], ...]}}", where=where
        ) from error
    for start, end, kind, surface in spans:
        whole = type(start) is type(end) is int
        if not whole or not 0 <= start <= end < len(text) or text[start : end + 1] != surface:
            raise InputError(f"the text does not hold `{surface}` at [{start}, {end}]", where=where)
        yield start, end, kind
