"""Question and context in, answer out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinybert.data.sidecar import PreparedWindows
from tinybert.errors import InputError
from tinybert.export.predictions import PAIR, Logits, PredictedText, Text
from tinybert.metrics.answers import AnswerOptions, BestAnswer, best_answers
from tinybert.model.description import AnswerKeys
from tinybert.prepare.encode import EncodedRow, Encoder
from tinybert.prepare.qa import AskedQuestion, Passage, WindowEncoder


@dataclass(frozen=True)
class AnswerPrediction(PredictedText):
    """The answer to a question."""

    answer: str
    """Empty: the context has none."""
    first: int
    """First character in the context, from 0; 0 for no answer."""
    end: int
    """The character after its last; 0 for no answer."""
    probability: float
    """Of its start times that of its end, in the window that it is from."""
    score: float
    """The sum of start and end logit of the best span."""
    no_answer_score: float
    """That of no answer."""


class ContextQuestions:
    """Questions about contexts, encoded as rows.

    Args:
        texts: Each a question, a tab and a context.
        encoder: Has tokenizer, vocabulary and length of rows.
        keys: How contexts are cut and answers chosen.

    Raises:
        InputError: A text has no tab, or a question or a context no tokens.
    """

    def __init__(self, texts: Sequence[Text], encoder: Encoder, keys: AnswerKeys) -> None:
        self._texts = texts
        self._options = AnswerOptions(keys.max_answer_length, keys.no_answer_threshold)
        windows = PreparedWindows(stride=keys.stride, max_question_length=keys.max_question_length)
        self._encoder = WindowEncoder(
            encoder.tokenizer, encoder.vocabulary, encoder.seq_length, windows, Counter()
        )
        self.rows: list[EncodedRow] = []
        self.texts: list[int] = []
        """Which of the texts each row is of."""
        self._cut: list[bool] = []
        for number, text in enumerate(texts):
            before = self._encoder.counts["cut_questions"]
            rows = list(self._encoder.rows([_passage(number, text)]))
            self.rows += rows
            self.texts += [number] * len(rows)
            self._cut.append(self._encoder.counts["cut_questions"] > before)

    def predictions(self, logits: Sequence[Logits]) -> Iterator[AnswerPrediction]:
        """Yield the answer to every question from the logits (tokens, 2) of all rows."""
        answers = best_answers(self._encoder.question_set(), logits, self._options)
        for text, cut, answer in zip(self._texts, self._cut, answers, strict=True):
            yield answer_prediction(text.text, cut, answer)


def _passage(number: int, text: Text) -> Passage:
    question, tab, context = text.text.partition(PAIR)
    if not tab:
        raise InputError(
            "a question and its context are needed", where=text.where, cure="part them by a tab"
        )
    asked = AskedQuestion(text.where, str(number), question, ())
    return Passage(text.where, context, (asked,))


def answer_prediction(text: str, cut: bool, answer: BestAnswer) -> AnswerPrediction:
    """Return an answer to the question in a text, the end of which was `cut` if it was too long."""
    return AnswerPrediction(
        text,
        cut,
        answer.text,
        answer.first,
        answer.end,
        answer.probability,
        answer.score,
        answer.no_answer_score,
    )
