"""Spans by exhaustion, and scores by the definitions of the official programs."""

import numpy as np
import pytest

from tinybert.data.questions import Question, QuestionSet
from tinybert.errors import InputError
from tinybert.metrics.answers import (
    NO_SPAN,
    AnswerOptions,
    answer_metrics,
    answer_task,
    best_answers,
    normalize_answer,
    possible_spans,
    score_answer,
    score_answers,
)
from tinybert.metrics.assessment import assess
from tinybert.metrics.metrics import predicted_labels
from tinybert.metrics.predictions import Predictions

CONTEXT = "Bonn lies on the Rhine, Ulm on the Danube."
WORDS = CONTEXT.split()


def questions():
    """Two questions about one context of 9 tokens; the first has two windows, the second one."""
    begins = [CONTEXT.index(word, max(0, at * 2)) for at, word in enumerate(WORDS)]
    spans = np.array([[b, b + len(w)] for b, w in zip(begins, WORDS, strict=True)], np.int32)
    asked = (
        Question(id="a", context=0, answers=("the Rhine", "Rhine")),
        Question(id="b", context=0, answers=()),
    )
    windows = np.array([[0, 0, 5, 3], [0, 3, 6, 3], [1, 0, 9, 4]], np.int32)
    return QuestionSet((CONTEXT,), asked, spans, np.array([0, 9], np.int64), windows)


def drawn():
    return np.random.default_rng(5).standard_normal((3, 14, 2)).astype(np.float32)


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_an_answer_is_the_best_span_of_all_windows(longest):
    logits, asked = drawn(), questions()
    found = best_answers(asked, list(logits), AnswerOptions(longest, None))
    for number, rows in enumerate(([0, 1], [2])):
        every = {
            (float(logits[row, s, 0]) + float(logits[row, e, 1]), row, s, e)
            for row in rows
            for s in range(asked.windows[row, 3], asked.windows[row, 3] + asked.windows[row, 2])
            for e in range(s, min(s + longest, asked.windows[row, 3] + asked.windows[row, 2]))
        }
        score, row, start, end = max(every)
        shift = int(asked.windows[row, 1] - asked.windows[row, 3])
        words = WORDS[start + shift : end + shift + 1]
        assert found[number].text == " ".join(words)
        assert CONTEXT[found[number].first : found[number].end] == found[number].text
        assert found[number].score == pytest.approx(score, rel=1e-6)
        nulls = [float(logits[row, 0].sum()) for row in rows]
        assert found[number].no_answer_score == pytest.approx(min(nulls), rel=1e-6)


def test_there_is_no_answer_where_its_score_is_above_the_threshold():
    logits, asked = drawn(), questions()
    plain = best_answers(asked, list(logits), AnswerOptions(30, None))
    apart = [answer.no_answer_score - answer.score for answer in plain]
    for shift, text in ((1e-6, plain[0].text), (-1e-6, "")):
        options = AnswerOptions(30, apart[0] + shift)
        answer = best_answers(asked, list(logits), options)[0]
        assert answer.text == text
        assert (answer.first, answer.end) == (
            (0, 0) if not text else (plain[0].first, plain[0].end)
        )


def test_probabilities_are_those_of_start_and_end_in_the_window():
    logits, asked = drawn(), questions()
    answer = best_answers(asked, list(logits), AnswerOptions(30, None))[1]
    start, end = (np.exp(logits[2, 4:13, side].astype(float)) for side in (0, 1))
    begins = [int(b) for b in asked.token_spans[:, 0]]
    ends = [int(e) for e in asked.token_spans[:, 1]]
    wanted = (
        start[begins.index(answer.first)] / start.sum() * end[ends.index(answer.end)] / end.sum()
    )
    assert answer.probability == pytest.approx(wanted, rel=1e-6)


def test_positions_that_are_no_answer_are_marked():
    kept = possible_spans(drawn(), questions(), range(3))
    assert (kept[0, 1:3] == NO_SPAN).all() and (kept[0, 8:] == NO_SPAN).all()
    assert np.array_equal(kept[0, 3:8], drawn()[0, 3:8])
    assert np.array_equal(kept[:, 0], drawn()[:, 0])
    assert predicted_labels("question_answering", kept).shape == (3, 2)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Cat's, an OWL!", "cats owl"),
        ("a.b. the", "ab"),
        ("Theatre an", "theatre"),
        ("", ""),
        ("the", ""),
    ],
)
def test_answers_are_normalized_as_squads_program_does(text, plain):
    assert normalize_answer(text) == plain


@pytest.mark.parametrize(
    ("task", "answer", "right", "scores"),
    [
        ("SQuAD-1.1", "the Rhine", ["Rhine", "river"], (1.0, 1.0)),
        ("SQuAD-1.1", "on the river Rhine", ["Rhine"], (0.0, 2 * (1 / 3) / (1 / 3 + 1))),
        ("SQuAD-1.1", "red red car", ["red car car"], (0.0, 2 / 3)),  # counted with repetition
        ("SQuAD-1.1", "", ["Rhine"], (0.0, 0.0)),
        ("SQuAD-1.1", "an", ["the"], (1.0, 0.0)),  # v1.1's program has no rule for nothing
        ("SQuAD-2.0", "an", ["the", "x"], (0.0, 0.0)),  # the first is no answer at all
        ("SQuAD-2.0", "", [], (1.0, 1.0)),
        ("SQuAD-2.0", "Rhine", [], (0.0, 0.0)),
        ("SQuAD-2.0", "", ["the"], (1.0, 1.0)),
        ("CMRC-2018", "莱茵河。", ["莱茵河"], (1.0, 1.0)),
        ("CMRC-2018", "在莱茵河边", ["莱茵河"], (0.0, 2 * (3 / 5) * 1 / (3 / 5 + 1))),
        ("CMRC-2018", "河莱茵", ["莱茵河"], (0.0, 2 / 3)),  # the longest common run has 2 of 3
        ("CMRC-2018", "NBA 1998年", ["nba1998年"], (0.0, 2 / 5)),  # `nba1998` is one word
        ("CMRC-2018", "北京", ["上海"], (0.0, 0.0)),
    ],
)
def test_an_answer_has_the_scores_of_the_official_program(task, answer, right, scores):
    assert score_answer(task, answer, right) == pytest.approx(scores)


def test_metrics_are_means_over_questions_and_verified_from_the_scores(tmp_path):
    asked, logits = questions(), drawn()
    answers = best_answers(asked, list(logits), AnswerOptions(30, -1e9))
    assert [answer.text for answer in answers] == ["", ""]
    scores = score_answers("SQuAD-2.0", asked, answers)
    assert scores.tolist() == [[0, 0], [1, 1]]
    assert answer_metrics(scores) == {"exact_match": 0.5, "f1": 0.5}
    possible = possible_spans(logits, asked, range(3))
    kept = Predictions(
        possible,
        predicted_labels("question_answering", possible),
        np.zeros((3, 2), np.int32),
        None,
        "question_answering",
        np.ascontiguousarray(asked.windows[:, 0]),
        scores,
    )
    kept.save(tmp_path / "predictions.safetensors")
    again = Predictions.load(tmp_path / "predictions.safetensors")
    assessment = assess(again, "question_answering")
    assert assessment.rows.tolist() == [0, 2]  # the first row of each question
    assert assessment.right.tolist() == [False, True]
    assert assessment.metrics_of(np.array([1, 1])) == {"exact_match": 1.0, "f1": 1.0}
    assert [(m.row, m.size) for m in assessment.mistakes()] == [(0, 1.0)]
    assert set(assessment.intervals) == {"exact_match", "f1"}


def test_scores_of_other_questions_are_no_predictions(tmp_path):
    logits = drawn()
    found = predicted_labels("question_answering", logits)
    for scores in (None, np.zeros((3, 2)), np.zeros((2, 3))):
        asked = np.array([0, 0, 1], np.int32)
        kept = Predictions(logits, found, found, None, "question_answering", asked, scores)
        kept.save(tmp_path / "predictions.safetensors")
        with pytest.raises(InputError, match="the file holds no predictions"):
            Predictions.load(tmp_path / "predictions.safetensors")


def test_an_unknown_task_of_questions_is_refused():
    assert answer_task("CMRC-2018") == "CMRC-2018"
    with pytest.raises(InputError, match="no official program scores answers to `table`"):
        answer_task("table")
