"""`prepare qa`: questions about contexts, in SQuAD's JSON -> records of windows over the contexts.

A row is `[CLS] question [SEP] window [SEP]`. A context that does not fit has several windows, each
`stride` tokens after the one before, as in BERT's run_squad.py. The label of a row is the place of
the answer's first and last token, or of [CLS] twice where the window does not hold all of it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from tinybert.data.questions import CLS_POSITION, MAX_BYTES, Question, QuestionSet, Window
from tinybert.data.sidecar import PreparedTask, PreparedWindows, Sidecar
from tinybert.errors import InputError, UsageError
from tinybert.prepare.encode import EncodedRow, split_windows
from tinybert.prepare.reading import Part, part_of
from tinybert.prepare.records import PrepareOptions, RecordContent, progress, write_directory
from tinybert.prepare.vocabulary import CLS, SEP, UNK, Vocabulary, build_tokenizer, load_vocabulary
from tinybert.recipe.task_types import AnswerTask, LabelKind
from tinybert.strict_json import read_json

MIN_SEQ_LENGTH = 6
_CONTEXTS_AT_A_TIME = 256


@dataclass(frozen=True)
class AskedQuestion:
    """A question as a file has it."""

    where: str
    id: str
    text: str
    answers: tuple[str, ...]
    first: int | None = None
    """First character of the first answer; None: there is none to learn."""


@dataclass(frozen=True)
class Passage:
    """A context and the questions about it."""

    where: str
    text: str
    questions: tuple[AskedQuestion, ...]


def prepare_qa(
    task: AnswerTask,
    inputs: Sequence[Path],
    options: PrepareOptions,
    *,
    stride: int | None,
    max_question_length: int,
    unlabelled: bool = False,
    part: Part | None = None,
) -> Sidecar:
    """Make records of questions in SQuAD's format; return the content of records.json.

    Args:
        task: Whose official program scores answers; the format is the same.
        inputs: The JSON files.
        options: Those of every `prepare`.
        stride: Tokens of a context between the beginnings of two windows; None: a third of a row.
        max_question_length: Tokens of a question that are read, from its beginning.
        unlabelled: Whether the questions have no answers, so that they can be predicted alone.
        part: The one of the files' contexts to take.

    Raises:
        InputError: A file or the vocabulary cannot be read, or a question is not as it must be.
        UsageError: A number is too small, or the output exists and may not be replaced.
    """
    options.check(MIN_SEQ_LENGTH)
    stride = options.seq_length // 3 if stride is None else stride
    windows = PreparedWindows(stride=stride, max_question_length=max_question_length)
    vocabulary = load_vocabulary(options.vocab)
    counts: Counter[str] = Counter(
        contexts=0, questions=0, questions_without_answer=0, misplaced_answers=0, lost_answers=0
    )
    tokenizer = build_tokenizer(vocabulary, options.tokenizer)
    encoder = WindowEncoder(tokenizer, vocabulary, options.seq_length, windows, counts)
    label: LabelKind | None = None if unlabelled else "span"
    prepared = PreparedTask(name=task, label=label, labels=None, columns={})
    with progress(inputs) as advance:

        def passages_of(path: Path) -> Iterator[Passage]:
            return read_passages(path, counts, labelled=not unlabelled)

        def passages() -> Iterator[Passage]:
            for path in inputs:
                yield from part_of(passages_of(path), part, counts)
                advance(path.stat().st_size)

        content = RecordContent(
            inputs=inputs,
            rows=encoder.rows(passages()),
            vocabulary=vocabulary,
            counts=counts,
            task=prepared,
            windows=windows,
            write_beside=lambda directory: encoder.question_set().save(directory),
        )
        return write_directory(content, options)


@dataclass
class WindowEncoder:
    """Encodes questions as rows, and remembers what each row reads."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary
    seq_length: int
    windows: PreparedWindows
    counts: Counter[str]
    _contexts: list[str] = field(default_factory=list)
    _questions: dict[str, Question] = field(default_factory=dict)
    _spans: list[tuple[int, int]] = field(default_factory=list)
    _ends: list[int] = field(default_factory=lambda: [0])
    _windows: list[Window] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.windows.stride < 1 or self.windows.max_question_length < 1:
            raise UsageError("a stride and a question have at least 1 token")
        self.counts.update(tokens=0, unknown=0, cut_questions=0, longest_row=0)

    def rows(self, passages: Iterable[Passage]) -> Iterator[EncodedRow]:
        """Yield the rows of all questions.

        Raises:
            InputError: A question or a context has no tokens, an id is there twice, or a question
                leaves no room for its context.
        """
        left = iter(passages)
        while block := list(islice(left, _CONTEXTS_AT_A_TIME)):
            texts = [
                text for each in block for text in (each.text, *(q.text for q in each.questions))
            ]
            encodings = iter(self.tokenizer.encode_batch(texts, add_special_tokens=False))
            for passage in block:
                context = next(encodings)
                if not context.ids:
                    raise InputError("a context is empty, or has no tokens", where=passage.where)
                self._contexts.append(passage.text)
                self._spans += context.offsets
                self._ends.append(len(self._spans))
                self.counts["contexts"] += 1
                for question in passage.questions:
                    yield from self._question_rows(question, next(encodings), context)

    def question_set(self) -> QuestionSet:
        """Return the questions so far, and what the rows so far read."""
        return QuestionSet(
            tuple(self._contexts),
            tuple(self._questions.values()),
            np.array(self._spans, np.int32).reshape(-1, 2),
            np.array(self._ends, np.int64),
            np.array(self._windows, np.int32).reshape(-1, 4),
        )

    def _question_rows(
        self, question: AskedQuestion, asked: Encoding, context: Encoding
    ) -> Iterator[EncodedRow]:
        """Yield the rows of a question, a window each."""
        if not asked.ids:
            raise InputError("a question is empty, or has no tokens", where=question.where)
        if question.id in self._questions:
            raise InputError(f"the id `{question.id}` is there twice", where=question.where)
        ids = asked.ids[: self.windows.max_question_length]
        room = self.seq_length - len(ids) - 3
        if room < 1:
            raise InputError(
                f"a question of {len(ids)} tokens leaves no room for its context",
                where=question.where,
                cure="use a larger --seq-length, or a smaller --max-question-length",
            )
        number = len(self._questions)
        self._questions[question.id] = Question(
            id=question.id, context=len(self._contexts) - 1, answers=question.answers
        )
        answer = self._answer_tokens(question, context)
        self.counts["questions"] += 1
        self.counts["questions_without_answer"] += not question.answers
        self.counts["cut_questions"] += len(ids) < len(asked.ids)
        cls, sep, unknown = (self.vocabulary.ids[token] for token in (CLS, SEP, UNK))
        for first, tokens in split_windows(len(context.ids), room, self.windows.stride):
            window = Window(number, first, tokens, len(ids) + 2)
            self._windows.append(window)
            row = [cls, *ids, sep, *context.ids[first : first + tokens], sep]
            segments = [0] * (len(ids) + 2) + [1] * (tokens + 1)
            self.counts["tokens"] += len(row)
            self.counts["unknown"] += row.count(unknown)
            self.counts["longest_row"] = max(self.counts["longest_row"], len(row))
            yield EncodedRow(row, segments, _label(window, answer))

    def _answer_tokens(self, question: AskedQuestion, context: Encoding) -> tuple[int, int] | None:
        """Return the first and the last token of a question's first answer; None without."""
        if question.first is None:
            return None
        end = question.first + len(question.answers[0])
        over = [
            token
            for token, (start, stop) in enumerate(context.offsets)
            if start < end and stop > question.first
        ]
        if not over:  # of white space, or of characters that have no tokens
            self.counts["lost_answers"] += 1
            return None
        return over[0], over[-1]


def _label(window: Window, answer: tuple[int, int] | None) -> tuple[int, int]:
    """Return the places in the row of an answer's first and last token."""
    if answer is not None:
        first, last = (token - window.first_token for token in answer)
        if 0 <= first and last < window.tokens:
            return window.position + first, window.position + last
    return CLS_POSITION, CLS_POSITION


def read_passages(path: Path, counts: Counter[str], *, labelled: bool = True) -> Iterator[Passage]:
    """Yield the contexts of a file in SQuAD's format with their questions.

    An answer that is not where it is said to be is looked for in the context, and counted. Where
    they are not `labelled`, questions need no answers, and those that are there are not read.

    Raises:
        InputError: The file cannot be read, or does not have the format.
    """
    try:
        content = read_json(path, limit=MAX_BYTES)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise InputError(f"the file is not JSON: {error}", where=str(path)) from error
    for place, article in _items(content, "data", str(path)):
        for where, paragraph in _items(article, "paragraphs", place):
            text = _text(paragraph, "context", where)
            asked = tuple(
                _asked(question, text, at, counts, labelled)
                for at, question in _items(paragraph, "qas", where)
            )
            yield Passage(where, text, asked)


def _asked(
    value: Any, context: str, where: str, counts: Counter[str], labelled: bool
) -> AskedQuestion:
    """Return a question of a file."""
    identity, text = _text(value, "id", where), _text(value, "question", where)
    if not labelled or value.get("is_impossible", False) is True:
        return AskedQuestion(where, identity, text, ())
    answers = []
    for at, answer in _items(value, "answers", where):
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(start, int):
            raise InputError("`answer_start` is missing, or no whole number", where=at)
        answers.append((_text(answer, "text", at), start))
    if not answers:
        return AskedQuestion(where, identity, text, ())
    first, start = answers[0]
    if start < 0 or not context.startswith(first, start):
        counts["misplaced_answers"] += 1
        start = context.find(first)
    counts["lost_answers"] += start < 0
    texts = tuple(text for text, _ in answers)
    return AskedQuestion(where, identity, text, texts, start if start >= 0 else None)


def _items(value: Any, key: str, where: str) -> Iterator[tuple[str, Any]]:
    """Yield place and value of the items of a list in an object."""
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list):
        cure = "name a file in SQuAD's format, with answers"
        raise InputError(f"`{key}` is missing, or no list", where=where, cure=cure)
    joint = ": " if key == "data" else "."
    yield from ((f"{where}{joint}{key}[{index}]", item) for index, item in enumerate(items))


def _text(value: Any, key: str, where: str) -> str:
    text = value.get(key) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise InputError(f"`{key}` is missing, or no text", where=where)
    return text
