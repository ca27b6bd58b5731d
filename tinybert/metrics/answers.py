"""Answers to questions: the best span over windows, and how the official programs score it.

Sources: evaluate-v1.1.py and evaluate-v2.0.py of SQuAD (rajpurkar.github.io/SQuAD-explorer), and
cmrc2018_evaluate.py (github.com/ymcui/cmrc2018). They print percentages; here are shares.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.data.questions import CLS_POSITION, QuestionSet, Window
from tinybert.errors import InputError
from tinybert.recipe.task_types import ANSWER_TASKS, AnswerTask

Scores = npt.NDArray[np.float64]
"""(Q, 2): exact match and F1 of each question, from 0 to 1."""
NO_SPAN = float(np.finfo(np.float32).min)
"""The logit of a position where no answer can begin or end."""
_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")  # noqa: RUF001
_HAN = re.compile("[\u4e00-\u9fa5]")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|\w+|[^\w\s]")


@dataclass(frozen=True)
class AnswerOptions:
    """How an answer is chosen."""

    max_answer_length: int
    """Most tokens of an answer."""
    no_answer_threshold: float | None
    """How far the logits of no answer may be above those of the best span for that still to be the
    answer; None: every question has an answer."""


@dataclass(frozen=True)
class BestAnswer:
    """What is answered to a question."""

    text: str
    """Empty: no answer."""
    first: int
    """First character in the context; 0 for no answer."""
    end: int
    """The character after its last; 0 for no answer."""
    score: float
    """Start logit plus end logit of the best span."""
    no_answer_score: float
    """The least, over the windows, of the sum of both logits of [CLS]."""
    probability: float
    """Of the answer's start times that of its end, in the window that it is from."""


def answer_task(name: str) -> AnswerTask:
    """Return the task of a name in records.json.

    Raises:
        InputError: There is no such task.
    """
    for task in ANSWER_TASKS:
        if task == name:
            return task
    raise InputError(f"no official program scores answers to `{name}`")


def best_answers(
    questions: QuestionSet, logits: Sequence[npt.NDArray[np.floating[Any]]], options: AnswerOptions
) -> list[BestAnswer]:
    """Return the answer to every question.

    It is the span of at most `max_answer_length` tokens of the context with the largest sum of
    start and end logits, over all windows of the question. There is no answer where the least null
    score of a window, less this sum, is above the threshold, as in BERT's run_squad.py.

    Args:
        questions: The questions, and what each row reads.
        logits: Start and end logits (S, 2) of each row.
        options: How an answer is chosen.
    """
    nulls = np.full(len(questions.questions), np.inf)
    best: dict[int, tuple[float, int, int, int]] = {}
    for row, values in enumerate(logits):
        window = questions.window(row)
        exact = np.asarray(values, np.float64)
        nulls[window.question] = min(nulls[window.question], float(exact[CLS_POSITION].sum()))
        span = (*_best_span(exact, window, options.max_answer_length), row)
        if window.question not in best or span[0] > best[window.question][0]:
            best[window.question] = span
    spans = [best[number] for number in range(len(questions.questions))]
    return [
        _answer(questions, span, float(null), np.asarray(logits[span[3]], np.float64), options)
        for span, null in zip(spans, nulls, strict=True)
    ]


def _best_span(logits: Scores, window: Window, longest: int) -> tuple[float, int, int]:
    """Return the largest sum of two logits (S, 2), and the positions of the span."""
    here = slice(window.position, window.position + window.tokens)
    starts, ends = logits[here].T
    best, first, last = -np.inf, 0, 0
    for longer in range(min(longest, window.tokens)):
        sums = starts[: window.tokens - longer] + ends[longer:]
        place = int(sums.argmax())
        if sums[place] > best:
            best, first, last = float(sums[place]), place, place + longer
    return best, window.position + first, window.position + last


def _answer(
    questions: QuestionSet,
    span: tuple[float, int, int, int],
    null: float,
    logits: Scores,
    options: AnswerOptions,
) -> BestAnswer:
    score, start, end, row = span
    window = questions.window(row)
    places = [*range(window.position, window.position + window.tokens)]
    unanswered = False
    if options.no_answer_threshold is not None:
        places.insert(0, CLS_POSITION)
        unanswered = null - score > options.no_answer_threshold
    chosen = (CLS_POSITION, CLS_POSITION) if unanswered else (start, end)
    shifted = logits[places] - logits[places].max(axis=0)
    totals = np.exp(shifted).sum(axis=0)
    powers = [np.exp(shifted[places.index(at), side]) for side, at in enumerate(chosen)]
    probability = float(np.prod(powers / totals))
    if unanswered:
        return BestAnswer("", 0, 0, score, null, probability)
    context = questions.questions[window.question].context
    shift = window.first_token - window.position
    first, stop = questions.span(context, start + shift, end + shift)
    text = questions.contexts[context][first:stop]
    return BestAnswer(text, first, stop, score, null, probability)


def possible_spans(
    logits: npt.NDArray[np.float32], questions: QuestionSet, rows: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Return logits (B, S, 2) of `rows` with `NO_SPAN` where no answer can begin or end."""
    possible = np.full_like(logits, NO_SPAN)
    for place, row in enumerate(rows):
        window = questions.window(row)
        here = slice(window.position, window.position + window.tokens)
        possible[place, here] = logits[place, here]
        possible[place, CLS_POSITION] = logits[place, CLS_POSITION]
    return possible


def score_answers(
    task: AnswerTask, questions: QuestionSet, answers: Sequence[BestAnswer]
) -> Scores:
    """Return exact match and F1 of each question's answer, by the official program of a task."""
    pairs = zip(answers, questions.questions, strict=True)
    return np.array([score_answer(task, a.text, q.answers) for a, q in pairs], np.float64)


def score_answer(task: AnswerTask, answer: str, right: Sequence[str]) -> tuple[float, float]:
    """Return exact match and F1 of an answer, the best over the right ones.

    SQuAD: of words in small letters, without articles and punctuation. A question of SQuAD-2.0
    without right answers, or with none but articles and punctuation, has "" for its right one.
    CMRC-2018: exact match of characters in small letters without punctuation; F1 by the longest
    common run of characters, or of words where they are no Chinese. There the official program asks
    NLTK for words; here they are runs of letters, numbers, and single marks.
    """
    if task == "CMRC-2018":
        exact = _best(lambda gold: float(_plain_cmrc(answer) == _plain_cmrc(gold)), right)
        return exact, _best(lambda gold: _common_run(answer, gold), right)
    if task == "SQuAD-2.0":
        right = [gold for gold in right if normalize_answer(gold)] or [""]
    exact = _best(lambda gold: float(normalize_answer(answer) == normalize_answer(gold)), right)
    empty_counts = task == "SQuAD-2.0"
    return exact, _best(lambda gold: _common_words(answer, gold, empty_counts), right)


def answer_metrics(scores: Scores) -> dict[str, float]:
    """Return the metrics of all questions."""
    exact, f1 = scores.mean(axis=0).tolist()
    return {"exact_match": exact, "f1": f1}


def normalize_answer(text: str) -> str:
    """Return small letters without punctuation, articles and superfluous white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _best(score: Callable[[str], float], right: Sequence[str]) -> float:
    return max(map(score, right), default=0.0)


def _common_words(answer: str, gold: str, empty_counts: bool) -> float:
    found, wanted = (normalize_answer(text).split() for text in (answer, gold))
    if empty_counts and not (found and wanted):
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return _f1(common, len(found), len(wanted))


def _common_run(answer: str, gold: str) -> float:
    found, wanted = (list(_cmrc_parts(text)) for text in (answer, gold))
    longest, before = 0, [0] * (len(wanted) + 1)
    for part in found:
        runs = [0]
        for place, other in enumerate(wanted):
            runs.append(before[place] + 1 if part == other else 0)
        longest, before = max(longest, *runs), runs
    return _f1(longest, len(found), len(wanted))


def _f1(common: int, found: int, wanted: int) -> float:
    if common == 0:
        return 0.0
    precision, recall = common / found, common / wanted
    return 2 * precision * recall / (precision + recall)


def _plain_cmrc(text: str) -> str:
    return "".join(mark for mark in text.lower().strip() if mark not in _CMRC_MARKS)


def _cmrc_parts(text: str) -> Iterator[str]:
    """Yield Chinese characters one by one, and words between them, without punctuation."""
    other = ""
    for mark in text.lower().strip():
        if mark in _CMRC_MARKS:
            continue
        if _HAN.match(mark):
            yield from _WORD.findall(other)
            yield mark
            other = ""
        else:
            other += mark
    yield from _WORD.findall(other)
