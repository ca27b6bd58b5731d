"""Word vectors in GloVe's text format: a word and its numbers a line, parted by spaces."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinybert.data.batch import FloatArray
from tinybert.errors import InputError
from tinybert.prepare.reading import read_lines

_LIMIT = 3e38


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors."""

    words: list[str]
    vectors: FloatArray
    """(words, D)."""


def read_word_vectors(path: Path) -> WordVectors:
    """Read a file of word vectors; all have as many numbers as the first.

    Raises:
        InputError: It cannot be read, a line is broken or has another number of numbers, a word is
            there twice, or there is no line.
    """
    places: dict[str, int] = {}
    values = array("f")
    width = 0
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        cells = line.rstrip(" ").split(" ")
        if number == 1:
            width = len(cells) - 1
            _check_first(cells, where)
        values.extend(_numbers(cells, width, where))
        word = " ".join(cells[: len(cells) - width])  # some have spaces
        if not word:
            raise InputError("the line has no word", where=where, cure="remove it")
        if word in places:
            message = f"`{word}` is there twice, first in line {places[word]}"
            raise InputError(message, where=where, cure="remove one of the lines")
        places[word] = number
    if not places:
        raise InputError("the file has no word vectors", where=str(path))
    vectors = np.frombuffer(values, np.float32).reshape(len(places), width)
    return WordVectors(list(places), vectors)


def _check_first(cells: Sequence[str], where: str) -> None:
    if len(cells) == 2 and all(cell.isdecimal() for cell in cells):
        message = "the file begins with the two counts of word2vec's text format"
        raise InputError(message, where=where, cure="remove the first line")
    if len(cells) < 2:
        cure = "name a file in GloVe's text format: a word and its numbers a line"
        raise InputError("the line is not a word and its numbers", where=where, cure=cure)


def _numbers(cells: Sequence[str], width: int, where: str) -> list[float]:
    """Return the numbers (D,) at the end of a line; what is before them is the word."""
    numbers = [number for cell in cells[1:] if (number := _number(cell)) is not None]
    if len(numbers) != width or len(cells) <= width or _number(cells[-width]) is None:
        message = f"the line has {len(numbers)} numbers after the word; the first line has {width}"
        raise InputError(message, where=where, cure="the file is damaged: get it again")
    if not all(abs(number) < _LIMIT for number in numbers):
        raise InputError("a number is not finite in float32", where=where, cure="remove the line")
    return numbers


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
