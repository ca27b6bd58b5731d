"""Candidates for the words of all texts, on disk: a kill costs the part that is not complete."""

import hashlib
import json
import re
import shutil
from array import array
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from tinybert.atomic import atomic_replace, write_bytes
from tinybert.augment.words import ReadText
from tinybert.data.rows import Int32Array
from tinybert.errors import InputError, UsageError, bulleted
from tinybert.files import writing
from tinybert.strict_json import read_json

PART_POSITIONS = 1 << 17
"""Positions of the masked rows of a part, and those of its last text beyond them."""
CACHED_PARTS = 256
_TWO_DIGESTS = re.compile("[0-9a-f]{128}")
_ARGUMENTS = "arguments.json"

Arguments = Mapping[str, str | int | None]
"""What the candidates depend on, by name."""


class TextIndex:
    """The distinct texts of a task's rows, in the order in which they first appear."""

    def __init__(self) -> None:
        self._ordinals: dict[str, int] = {}
        self._first_words = array("q", [0])  # of each text, among all words; last, their number
        self._first_texts = [0]  # of each part
        self._positions = 0  # of the masked rows of the last part
        self._digest = hashlib.sha256()

    def __contains__(self, text: str) -> bool:
        return text in self._ordinals

    @property
    def words(self) -> int:
        """Number of words of all texts."""
        return self._first_words[-1]

    @property
    def sha256(self) -> str:
        """Digest of all texts."""
        return self._digest.hexdigest()

    def add(self, text: str, read: ReadText, row_length: int) -> None:
        """Add a text that is not there yet, whose masked rows have `row_length` tokens."""
        if self._positions >= PART_POSITIONS:
            self._first_texts.append(len(self._ordinals))
            self._positions = 0
        self._positions += len(read.words) * row_length
        self._ordinals[text] = len(self._ordinals)
        self._first_words.append(self.words + len(read.words))
        encoded = text.encode()
        self._digest.update(len(encoded).to_bytes(8, "little") + encoded)

    def parts(self) -> list[list[str]]:
        """Return the texts of each part."""
        texts = list(self._ordinals)
        ends = [*self._first_texts[1:], len(texts)]
        return [texts[first:end] for first, end in zip(self._first_texts, ends, strict=True)]

    def words_of_part(self, part: int) -> int:
        """Return the number of words of a part."""
        return self._first_word(part + 1) - self._first_word(part)

    def place(self, text: str) -> tuple[int, slice]:
        """Return the part of a text, and which of the part's words are the text's."""
        ordinal = self._ordinals[text]
        part = bisect_right(self._first_texts, ordinal) - 1
        first = self._first_word(part)
        return part, slice(
            self._first_words[ordinal] - first, self._first_words[ordinal + 1] - first
        )

    def _first_word(self, part: int) -> int:
        last = part == len(self._first_texts)
        return self.words if last else self._first_words[self._first_texts[part]]


class CandidateParts:
    """The folder beside an output in which its candidates are kept until it is complete.

    Args:
        folder: The folder.
        index: The texts.
        count: Most candidates for a word (M).
    """

    def __init__(self, folder: Path, index: TextIndex, count: int) -> None:
        self.folder = folder
        self._index = index
        self._count = count
        self._read = lru_cache(CACHED_PARTS)(self._read_part)

    def begin(self, arguments: Arguments, *, force: bool) -> None:
        """Create the folder, or go on with one that was begun with the same arguments.

        Args:
            arguments: What the candidates depend on.
            force: Whether one that was begun with others is begun anew.

        Raises:
            InputError: The folder cannot be written.
            UsageError: It was begun with other arguments, and `force` is false.
        """
        file = self.folder / _ARGUMENTS
        if differences := self._differences(file, arguments):
            if not force:
                raise UsageError(
                    "the folder has unfinished work with other arguments:" + bulleted(differences),
                    where=str(self.folder),
                    cure="go on with its arguments, name another output, or begin anew with "
                    "--force",
                )
            shutil.rmtree(self.folder)
        with writing(file):
            self.folder.mkdir(exist_ok=True)
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink()
            write_bytes(file, (json.dumps(dict(arguments), indent=2) + "\n").encode())

    def has(self, part: int) -> bool:
        """Return whether a part is there."""
        return self._path(part).is_file()

    def write(self, part: int, candidates: Int32Array) -> None:
        """Write the candidates (words, M) of a part, whole or not at all.

        Raises:
            InputError: The folder cannot be written.
        """
        path = self._path(part)
        with writing(path), atomic_replace(path) as temporary, open(temporary, "wb") as file:
            np.save(file, candidates)

    def of(self, text: str) -> Int32Array:
        """Return the candidates (words, M) for the words of a text.

        Raises:
            InputError: The part is damaged.
        """
        part, words = self._index.place(text)
        return self._read(part)[words]

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def _path(self, part: int) -> Path:
        return self.folder / f"candidates-{part:05d}.npy"

    def _read_part(self, part: int) -> Int32Array:
        path = self._path(part)
        shape = self._index.words_of_part(part), self._count
        try:
            candidates: Int32Array = np.load(path, allow_pickle=False)
            if candidates.shape != shape or candidates.dtype != np.int32:
                raise ValueError(f"it is {candidates.shape}, not {shape}")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"candidates cannot be read: {error}",
                where=str(path),
                cure="remove the file, and give the same command again",
            ) from error
        return candidates

    def _differences(self, file: Path, arguments: Arguments) -> list[str]:
        """Return how arguments differ from those that the folder was begun with, if it is there."""
        if not self.folder.is_dir() or all(path.name[0] == "." for path in self.folder.iterdir()):
            return []
        try:
            begun = dict(read_json(file))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"the folder for unfinished work holds no {_ARGUMENTS}, and is not replaced",
                where=str(self.folder),
                cure="name another output, or remove it yourself",
            ) from error
        return [
            f"`{name}` is another"
            if _TWO_DIGESTS.fullmatch(f"{now}{then}")
            else f"`{name}` was {then}, and is {now}"
            for name in dict.fromkeys((*arguments, *begun))
            if (now := arguments.get(name)) != (then := begun.get(name))
        ]
