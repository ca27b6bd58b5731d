"""Questions in SQuAD's format: windows, labels of answers, and where tokens lie in contexts."""

import json

import numpy as np
import pytest

from tests.prepare.conftest import CLS, SEP, A, B, C, D, E
from tinybert.data.questions import QuestionSet
from tinybert.data.sidecar import load_sidecar
from tinybert.errors import InputError, UsageError
from tinybert.prepare.encode import split_windows
from tinybert.prepare.qa import prepare_qa


def asked(identity, question, *answers, **others):
    found = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": identity, "question": question, "answers": found, **others}


def file_of(context, *questions):
    content = {"version": "x", "data": [{"paragraphs": [{"context": context, "qas": questions}]}]}
    return json.dumps(content, ensure_ascii=False)


def prepare(path, options, task="SQuAD-2.0", **changes):
    settings = {"stride": 2, "max_question_length": 2}
    return prepare_qa(task, [path], options, **{**settings, **changes})


def test_windows_are_those_of_berts_program():
    assert list(split_windows(5, 5, 2)) == [(0, 5)]
    assert list(split_windows(6, 4, 2)) == [(0, 4), (2, 4)]
    assert list(split_windows(7, 4, 2)) == [(0, 4), (2, 4), (4, 3)]
    assert list(split_windows(9, 4, 100)) == [(0, 4), (4, 4), (8, 1)]  # no token is left out


@pytest.mark.parametrize("dataset_type", ["tfrecord", "mindrecord"])
def test_a_long_context_has_several_rows(dataset_type, write, options, read_batch):
    context = "a b  c, d e"  # six tokens; rows of 8 with a question of 1 have room for 4
    path = write("in.json", file_of(context, asked("q", "e", ("c, d", 5), ("d", 8))))
    made = options(format=dataset_type)
    sidecar = prepare(path, made, task="SQuAD-1.1")
    comma = 10
    batch = read_batch(made.output, "span", dataset_type)
    assert batch.input_ids.tolist() == [
        [CLS, E, SEP, A, B, C, comma, SEP],
        [CLS, E, SEP, C, comma, D, E, SEP],
    ]
    assert batch.segment_ids.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]] * 2
    assert batch.label_ids.tolist() == [[0, 0], [3, 5]]  # the first window lacks `d`
    assert (sidecar.task.label, sidecar.task.name) == ("span", "SQuAD-1.1")
    assert sidecar.windows.model_dump() == {"stride": 2, "max_question_length": 2}
    questions = QuestionSet.load(made.output)
    assert questions.windows.tolist() == [[0, 0, 4, 3], [0, 2, 4, 3]]
    texts = [context[begin:end] for begin, end in questions.token_spans.tolist()]
    assert texts == ["a", "b", "c", ",", "d", "e"]
    first, end = questions.span(0, 2, 4)
    assert context[first:end] == "c, d"
    (question,) = questions.questions
    assert (question.id, question.answers) == ("q", ("c, d", "d"))


def test_questions_without_answer_point_at_cls(write, options, read_batch):
    text = file_of(
        "a b",
        asked("1", "c", is_impossible=True),
        asked("2", "c"),
        asked("3", "c d e", ("b", 2), is_impossible=False),
    )
    sidecar = prepare(write("in.json", text), options())
    batch = read_batch(options().output, "span")
    assert batch.label_ids.tolist() == [[0, 0], [0, 0], [5, 5]]
    assert batch.input_ids[2].tolist() == [CLS, C, D, SEP, A, B, SEP, 0]  # two tokens of three
    counts = sidecar.counts
    assert (counts["questions"], counts["questions_without_answer"]) == (3, 2)
    assert (counts["cut_questions"], counts["contexts"], counts["longest_row"]) == (1, 1, 7)


def test_an_answer_elsewhere_is_looked_for_and_one_that_is_not_there_is_lost(
    write, options, read_batch
):
    text = file_of("a b c", asked("1", "d", ("c", 0)), asked("2", "d", ("e", 2)))
    sidecar = prepare(write("in.json", text), options())
    assert read_batch(options().output, "span").label_ids.tolist() == [[5, 5], [0, 0]]
    assert (sidecar.counts["misplaced_answers"], sidecar.counts["lost_answers"]) == (2, 1)


def test_the_offsets_are_those_of_the_text_as_it_is_written(write, options):
    context = "\u3000Café  中国, A"
    made = options(lowercase=True)
    prepare(write("in.json", file_of(context, asked("1", "a", ("中国", 7)))), made)
    questions = QuestionSet.load(made.output)
    texts = [context[begin:end] for begin, end in questions.token_spans.tolist()]
    assert texts == ["Café", "中", "国", ",", "A"]


def test_a_test_set_needs_no_answers(write, options, read_batch):
    content = {
        "data": [{"paragraphs": [{"context": "a b", "qas": [{"id": "1", "question": "c"}]}]}]
    }
    path = write("in.json", json.dumps(content))
    sidecar = prepare(path, options(), unlabelled=True)
    assert sidecar.task.label is None
    assert "label_ids" not in (options().output / "schema.json").read_text()
    assert read_batch(options().output, None).input_ids[0, 1] == C
    with pytest.raises(InputError, match="`answers` is missing, or no list"):
        prepare(path, options("other"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "in.json: `data` is missing, or no list"),
        ('{"data": [{}]}', "in.json: data[0]: `paragraphs` is missing, or no list"),
        (file_of("", asked("1", "a")), "data[0].paragraphs[0]: a context is empty"),
        (file_of("a", asked("1", " ")), "paragraphs[0].qas[0]: a question is empty"),
        (file_of("a", asked("1", "a"), asked("1", "b")), "qas[1]: the id `1` is there twice"),
        (file_of("a", asked(1, "a")), "qas[0]: `id` is missing, or no text"),
        (
            file_of("a", {"id": "1", "question": "a", "answers": [{"text": "a"}]}),
            "answers[0]: `answer_start` is missing, or no whole number",
        ),
        ("{", "in.json: the file is not JSON"),
    ],
)
def test_what_is_no_such_file_is_one_clear_error(content, message, write, options):
    with pytest.raises(InputError) as caught:
        prepare(write("in.json", content), options())
    assert message in f"{caught.value.where}: {caught.value.message}"
    assert not options().output.exists()


def test_a_question_that_fills_the_row_leaves_no_room(write, options):
    path = write("in.json", file_of("a", asked("1", "a b c d e")))
    with pytest.raises(InputError, match="a question of 5 tokens leaves no room for its context"):
        prepare(path, options(), max_question_length=9)
    with pytest.raises(UsageError, match="a stride and a question have at least 1 token"):
        prepare(path, options(), stride=0)


def test_every_later_change_is_an_error(write, options, read_batch):
    prepare(write("in.json", file_of("a b", asked("1", "c", ("b", 2)))), options())
    names = {file.name for file in load_sidecar(options().output).files}
    assert {"questions.json", "windows.safetensors"} <= names
    path = options().output / "questions.json"
    path.write_text(path.read_text().replace('"b"', '"a"'))
    with pytest.raises(InputError, match="the file was changed after it was prepared"):
        read_batch(options().output, "span")


def test_questions_that_do_not_fit_their_windows_are_refused(write, options):
    prepare(write("in.json", file_of("a b", asked("1", "c", ("b", 2)))), options())
    questions = QuestionSet.load(options().output)
    for windows in ([[0, 1, 2, 3]], [[1, 0, 2, 3]], [[0, 0, 0, 3]]):
        broken = QuestionSet(
            questions.contexts,
            questions.questions,
            questions.token_spans,
            questions.context_tokens,
            np.array(windows, np.int32),
        )
        broken.save(options().output)
        with pytest.raises(InputError, match="the file is not what `prepare qa` writes"):
            QuestionSet.load(options().output)
