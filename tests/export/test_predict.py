"""The command `predict`, against NumPy."""

import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.export.conftest import VOCAB, finished_run, task_recipe, task_weights
from tests.model.numpy_bert import NumpyBert
from tinybert.export.predict import Text, predict_texts
from tinybert.export.source import SourceRequest, find_network
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary
from tinybert.recipe.load import load
from tinybert.recipe.network import network

TEXTS = ["the river is cold", "a town"]


def task_run(folder, width=2, labels=None, **changes):
    """Leave a fine-tuned run; returns its manifest and the network in NumPy."""
    recipe = task_recipe(folder, num_labels=str(width), **changes)
    weights = task_weights(recipe, width)
    arrays = {f"teacher.{name}": array for name, array in weights.items()}
    run = finished_run(folder, recipe, arrays, labels)
    return run, NumpyBert(network(load(recipe).recipe, "teacher"), weights)


def encoded(*texts):
    """Return a row of one or two texts, by hand."""
    vocabulary = load_vocabulary(VOCAB)
    tokenizer = build_tokenizer(vocabulary, True)
    ids, segments = [vocabulary.ids["[CLS]"]], [0]
    for segment, text in enumerate(texts):
        pieces = tokenizer.encode(text, add_special_tokens=False).ids
        ids += [*pieces, vocabulary.ids["[SEP]"]]
        segments += [segment] * (len(pieces) + 1)
    return [np.array([row], np.int32) for row in (ids, segments, [1] * len(ids))]


def pooled_logits(bert, *texts):
    last = bert(*encoded(*texts))[0][-1]
    return bert.linear("classifier", np.tanh(bert.linear("pooler.dense", last[:, 0])))[0]


def json_lines(call, run, *arguments):
    code, answer = call("predict", run, "--vocab", VOCAB, "--format", "json", *arguments)
    assert code == 0, answer
    return [json.loads(line) for line in answer.splitlines()]


def test_classes_come_with_their_probabilities(call, tmp_path):
    run, bert = task_run(tmp_path, labels=["indoors", "outdoors"])
    answers = json_lines(call, run, "--text", TEXTS[0], "--text", TEXTS[1])
    assert [answer["text"] for answer in answers] == TEXTS
    for answer in answers:
        exponent = np.exp(pooled_logits(bert, answer["text"]))
        wanted = exponent / exponent.sum()
        assert list(answer["probabilities"]) == ["indoors", "outdoors"]
        assert list(answer["probabilities"].values()) == pytest.approx(wanted, abs=1e-4)
        assert answer["label"] == ["indoors", "outdoors"][int(wanted.argmax())]
        assert answer["probability"] == max(answer["probabilities"].values())


def test_a_tab_makes_a_pair(call, tmp_path):
    run, bert = task_run(tmp_path)
    (answer,) = json_lines(call, run, "--text", "\t".join(TEXTS))
    exponent = np.exp(pooled_logits(bert, *TEXTS))
    wanted = exponent / exponent.sum()
    assert list(answer["probabilities"]) == ["0", "1"]  # the labels' names are not known
    assert list(answer["probabilities"].values()) == pytest.approx(wanted, abs=1e-4)


def test_a_regression_gives_a_number(call, tmp_path):
    run, bert = task_run(
        tmp_path, 1, task_type='"regression"', assessment_method='"pearson"', head='"relu_linear"'
    )
    (answer,) = json_lines(call, run, "--text", TEXTS[0])
    last = bert(*encoded(TEXTS[0]))[0][-1]
    pooled = np.tanh(bert.linear("pooler.dense", last[:, 0]))
    (wanted,) = bert.linear("classifier", np.maximum(pooled, 0))[0]
    assert answer == {"text": TEXTS[0], "value": pytest.approx(wanted, abs=1e-4)}


def test_lines_of_standard_input_are_texts(call, tmp_path, monkeypatch):
    run, bert = task_run(tmp_path, labels=["indoors", "outdoors"])
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(TEXTS * 20) + "\n"))
    code, answer = call("predict", run, "--vocab", VOCAB)
    assert code == 0
    lines = []
    for text in TEXTS:
        exponent = np.exp(pooled_logits(bert, text))
        best = int(exponent.argmax())
        share = exponent[best] / exponent.sum()
        lines.append(f"{('indoors', 'outdoors')[best]}\t{share:.4f}\t{text}")
    assert answer.splitlines() == lines * 20


TAGS = ["O", "B-place", "I-place"]


@pytest.mark.parametrize(
    ("characters", "text"),
    [
        (True, "the river is cold here"),
        (False, "the town by the sea and a garden in the sun of the morning near the river"),
    ],
)
def test_tags_become_entities(characters, text, tmp_path):
    run, bert = task_run(tmp_path, 3, TAGS, task_type='"ner"', assessment_method='"entity_f1"')
    source = find_network(SourceRequest(run, tmp_path, None, None, VOCAB))
    assert not source.characters
    words = list(text) if characters else text.split()
    last = bert(*encoded(" ".join(words)))[0][-1]
    bias = -bert.weights["classifier.weight"] @ last[0].mean(0)  # so that all tags are there
    bert.weights["classifier.bias"] = bias
    arrays = source.network.arrays | {"classifier.bias": bias.astype(np.float32)}
    source = replace(source, characters=characters, network=replace(source.network, arrays=arrays))
    (answer,) = predict_texts(source, [Text("here", text)])
    best = bert.linear("classifier", last)[0].argmax(-1)
    tags, place = ["O"] * len(words), 1
    for index, word in enumerate(words):
        pieces = encoded(word)[0].shape[1] - 2
        if pieces:
            tags[index] = TAGS[best[place]]
        place += pieces
    assert set(tags) == set(TAGS)
    starts = [
        i
        for i, tag in enumerate(tags)
        if tag == "B-place" or (tag == "I-place" and (i == 0 or tags[i - 1] == "O"))
    ]
    entities = []
    for first in starts:
        last = first
        while last + 1 < len(tags) and tags[last + 1] == "I-place":
            last += 1
        words_of = words[first : last + 1]
        joined = ("" if characters else " ").join(words_of)
        entities.append({"type": "place", "text": joined, "first": first, "last": last})
    assert asdict(answer) == {"text": text, "entities": entities}


def test_a_directory_for_transformers_needs_nothing_else(call, tmp_path):
    run, _ = task_run(tmp_path, labels=["indoors", "outdoors"])
    output = tmp_path / "model"
    arguments = ("--to", "huggingface", "--output", output, "--vocab", VOCAB)
    assert call("convert", run, *arguments)[0] == 0
    from_run = call("predict", run, "--vocab", VOCAB, "--text", TEXTS[0])
    assert call("predict", output, "--text", TEXTS[0]) == from_run
    (output / "tokenizer_config.json").unlink()
    assert call("predict", output, "--lowercase", "--text", TEXTS[0]) == from_run
    assert call("predict", output, "--text", TEXTS[0]) == (
        2,
        "error: it is not known whether texts are lower-cased for this network\n"
        "help: say so: --lowercase, or --cased\n",
    )


def test_what_cannot_be_answered_is_refused(call, student_run, tmp_path):
    run, _ = task_run(tmp_path)
    assert call("predict", run, "--text", TEXTS[0]) == (
        2,
        "error: the vocabulary is not known\nhelp: name it: --vocab VOCAB_TXT\n",
    )
    assert call("predict", run, "--vocab", VOCAB, "--text", TEXTS[0], "--text", " ") == (
        2,
        "error: a text is empty, or has no tokens\n  --> text 2\n",
    )
    code, answer = call("predict", student_run, "--vocab", VOCAB, "--text", TEXTS[0])
    assert (code, answer.splitlines()[0]) == (
        2,
        "error: the network has learned no task: it has no head",
    )
