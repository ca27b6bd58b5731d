"""A row's augmented rows: which words are replaced, by which of their candidates.

Which ones is a function of (seed, row, sample, word), drawn from a counter; see `randomness`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.augment.largest import NONE
from tinybert.augment.words import Word, WordReader
from tinybert.data.rows import Int32Array
from tinybert.prepare.encode import Example, ExampleLabel
from tinybert.randomness import key, threefry


def draw_candidates(
    seed: int, row: int, samples: int, available: npt.NDArray[np.int64], threshold: float
) -> npt.NDArray[np.int64]:
    """Return the candidate that takes each word's place in each sample.

    Args:
        seed: Keys the draws.
        row: The row's number.
        samples: Number of samples (N).
        available: (W,) number of candidates for each word.
        threshold: Probability of a replacement, exact to 2**-32.

    Returns:
        (N, W), places of candidates, each as probable as the others; `NONE` where the word stays.
    """
    words = len(available)
    sample, word = (places.reshape(-1).astype(np.uint32) for places in np.indices((samples, words)))
    low, high = (np.full_like(word, part) for part in (row & 0xFFFFFFFF, row >> 32))
    replaced, choice, *_ = threefry(key(seed, "augmentation"), (word, sample, low, high))
    places = choice.astype(np.int64) * np.tile(available, samples) >> 32
    stays = (replaced.astype(np.int64) >= round(threshold * 2**32)) | (
        np.tile(available, samples) == 0
    )
    drawn: npt.NDArray[np.int64] = np.where(stays, NONE, places).reshape(samples, words)
    return drawn


@dataclass(frozen=True)
class RowAugmenter:
    """Makes augmented rows of examples, and writes the table of all rows."""

    reader: WordReader
    """Finds the words of texts."""
    candidates: Callable[[str], Int32Array]
    """Returns the candidates (words, M) for the words of a text."""
    text_of: Callable[[int], str]
    """Returns a candidate as a word."""
    table: Path
    """The file of the table, JSON lines."""
    roles: Sequence[str]
    """What the texts of a row are called in it: `text`, `text_pair`."""
    labels: Sequence[str] | None
    """Label names in the order of their ids; None for numbers."""
    counts: Counter[str]
    """Counts rows and words."""
    seed: int
    """Keys the draws."""
    samples: int
    """Augmented rows of a row (N)."""
    threshold: float
    """Probability by which a word is replaced (p)."""

    def expand(self, examples: Iterable[Example]) -> Iterator[Example]:
        """Yield examples, each followed by those that are made of it.

        One with the texts of the row itself, or of an earlier one of the same row, is left out.
        """
        counts = self.counts
        counts.update(original_rows=0, augmented_rows=0, duplicate_rows=0)
        counts.update(words=0, words_without_candidates=0)
        with open(self.table, "w", encoding="utf-8") as file:
            for row, example in enumerate(examples):
                texts = [text for text in example.texts if isinstance(text, str)]
                counts["original_rows"] += 1
                before = {tuple(texts)}
                file.write(self._line(row, 0, texts, example.label))
                yield example
                for sample, other in enumerate(self._variants(row, texts), start=1):
                    if tuple(other) in before:
                        counts["duplicate_rows"] += 1
                        continue
                    before.add(tuple(other))
                    counts["augmented_rows"] += 1
                    file.write(self._line(row, sample, other, example.label))
                    yield Example(f"{example.where}, sample {sample}", other, example.label)

    def _variants(self, row: int, texts: Sequence[str]) -> Iterator[list[str]]:
        """Yield the texts of each sample of a row."""
        words = [
            (text, word) for text, read in enumerate(self.reader.read(texts)) for word in read.words
        ]
        candidates = np.concatenate([self.candidates(text) for text in texts])
        available = (candidates != NONE).sum(axis=1)
        self.counts["words"] += len(words)
        self.counts["words_without_candidates"] += int((available == 0).sum())
        drawn = draw_candidates(self.seed, row, self.samples, available, self.threshold)
        for places in drawn:
            replacements: list[list[tuple[Word, str]]] = [[] for _ in texts]
            for index in np.flatnonzero(places != NONE):
                text, word = words[index]
                other = self.text_of(int(candidates[index, places[index]]))
                replacements[text].append((word, other))
            yield [
                self.reader.replace(text, some)
                for text, some in zip(texts, replacements, strict=True)
            ]

    def _line(self, row: int, sample: int, texts: Sequence[str], label: ExampleLabel) -> str:
        content = {"row": row, "sample": sample, **dict(zip(self.roles, texts, strict=True))}
        if label is not None:
            content["label"] = self._named(label)
        return json.dumps(content, ensure_ascii=False) + "\n"

    def _named(self, label: ExampleLabel) -> object:
        """Return a label as a table has it: a number, a name, or a list of names."""
        if self.labels is None:
            return label
        if isinstance(label, frozenset):
            return [self.labels[each] for each in sorted(label)]
        assert isinstance(label, int)
        return self.labels[label]
