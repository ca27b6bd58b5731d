"""Rows of two segments, [CLS] a [SEP] b [SEP], as BERT's and TinyBERT's own programs make them.

The sentences of a document are gathered until they fill a row. `a` ends after one of them, drawn at
random. `b` is, with equal chances, the rest of them, or as much as fits from a random place of
another document; the rest is then gathered again. In one document of ten, rows are filled to a
random shorter length only. A row that is too long loses tokens of the longer segment, at the
beginning of its segments or at their end, with equal chances.

Other documents are the `RECENT` before this one, so that memory does not grow with the text; where
there is none, `b` comes from the document itself. Draws are functions of the seed, the number of
the document and the number of the row in it.

Source: google-research/bert, create_pretraining_data.py, and huawei-noah/Pretrained-Language-Model,
TinyBERT/pregenerate_training_data.py; there other documents are all, and each token that is lost
has a draw of its own for the end that loses it.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from tinybert.prepare.encode import EncodedRow, truncate
from tinybert.randomness import uniform

RECENT = 1000
SHORT = 0.1
"""Share of documents whose rows are not filled."""
_DRAWS = 5

Tokens = list[int]
Document = Sequence[Tokens]
"""The token ids of its sentences; there is one, and none is empty."""


def pair_rows(
    documents: Iterable[Document],
    seq_length: int,
    cls: int,
    sep: int,
    seed: int,
    counts: Counter[str],
) -> Iterator[EncodedRow]:
    """Yield the rows of documents, of at most `seq_length` tokens (S), which is at least 5.

    Counted are rows whose `b` is from another place (`random_pairs`), rows that lost tokens
    (`truncated_rows`), and these (`cut_tokens`).
    """
    room = seq_length - 3
    recent: deque[Document] = deque(maxlen=RECENT)
    counts.update(random_pairs=0, truncated_rows=0, cut_tokens=0)
    for number, document in enumerate(documents):
        draws = iter(uniform(seed, f"pairs/{number}", 2 + _DRAWS * len(document)).tolist())
        for a, b, at_random, front in _pairs(document, recent or [document], room, draws):
            kept = truncate([len(a), len(b)], room)
            cut = len(a) + len(b) - sum(kept)
            a, b = (
                tokens[len(tokens) - length :] if front else tokens[:length]
                for tokens, length in zip((a, b), kept, strict=True)
            )
            counts["random_pairs"] += at_random
            counts["truncated_rows"] += cut > 0
            counts["cut_tokens"] += cut
            segment_ids = [0] * (len(a) + 2) + [1] * (len(b) + 1)
            yield EncodedRow([cls, *a, sep, *b, sep], segment_ids)
        recent.append(document)


def _pairs(
    document: Document, others: Sequence[Document], room: int, draws: Iterator[float]
) -> Iterator[tuple[Tokens, Tokens, bool, bool]]:
    """Yield a, b, whether b is from another place, and whether to truncate at the beginning."""
    short, length = next(draws), next(draws)
    target = 2 + int(length * (room - 1)) if short < SHORT else room
    first = 0
    while first < len(document):
        split, kind, other, start, side = (next(draws) for _ in range(_DRAWS))
        end = _end(document, first, target)
        middle = first + 1 + int(split * max(1, end - first - 1))
        a = list(chain(*document[first:middle]))
        at_random = middle == end or kind < 0.5
        if at_random:
            source = others[int(other * len(others))]
            place = int(start * len(source))
            b = list(chain(*source[place : _end(source, place, target - len(a))]))
            end = middle
        else:
            b = list(chain(*document[middle:end]))
        yield a, b, at_random, side < 0.5
        first = end


def _end(document: Document, first: int, target: int) -> int:
    """Return the end of the sentences from `first` on that together have `target` tokens."""
    length = 0
    for place in range(first, len(document)):
        length += len(document[place])
        if length >= target:
            return place + 1
    return len(document)
