"""The command `predict`, against NumPy."""

import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.export.conftest import (
    RECORDS,
    VOCAB,
    finished_run,
    prepared_task,
    task_recipe,
    task_weights,
)
from tests.model.numpy_bert import NumpyBert
from tinybert.data.sidecar import TokenizerOptions
from tinybert.export.checkpoint import write_checkpoint
from tinybert.export.predict import ReadAs, Text, predict_texts
from tinybert.export.source import SourceRequest, find_network
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary
from tinybert.recipe.load import load
from tinybert.recipe.network import network

TEXTS = ["the river is cold", "a town"]


def task_run(folder, width=2, labels=None, records=RECORDS, **changes):
    """Leave a fine-tuned run; returns its manifest and the network in NumPy."""
    recipe = task_recipe(folder, num_labels=str(width), **changes)
    weights = task_weights(recipe, width)
    arrays = {f"teacher.{name}": array for name, array in weights.items()}
    run = finished_run(folder, recipe, arrays, labels, records)
    return run, NumpyBert(network(load(recipe).recipe, "teacher"), weights)


def encoded(*texts):
    """Return a row of one or two texts, by hand."""
    vocabulary = load_vocabulary(VOCAB)
    tokenizer = build_tokenizer(vocabulary, TokenizerOptions(True, True))
    ids, segments = [vocabulary.ids["[CLS]"]], [0]
    for segment, text in enumerate(texts):
        pieces = tokenizer.encode(text, add_special_tokens=False).ids
        ids += [*pieces, vocabulary.ids["[SEP]"]]
        segments += [segment] * (len(pieces) + 1)
    return [np.array([row], np.int32) for row in (ids, segments, [1] * len(ids))]


def pooled_logits(bert, *texts):
    last = bert(*encoded(*texts))[0][-1]
    return bert.linear("classifier", np.tanh(bert.linear("pooler.dense", last[:, 0])))[0]


def json_lines(call, run, *arguments, vocab=VOCAB):
    code, answer = call("predict", run, "--vocab", vocab, "--format", "json", *arguments)
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


def test_every_label_that_is_likelier_than_not_is_named(call, tmp_path):
    kind = {"task_type": '"multi_label_classification"', "assessment_method": '"micro_f1"'}
    names = ["news", "sport", "art", "food"]
    run, bert = task_run(tmp_path, width=4, labels=names, **kind)
    for answer in json_lines(call, run, *text_options(TEXTS)):
        logits = pooled_logits(bert, answer["text"])
        wanted = 1 / (1 + np.exp(-logits))
        assert list(answer["probabilities"]) == names
        assert list(answer["probabilities"].values()) == pytest.approx(wanted, abs=1e-4)
        assert answer["labels"] == [n for n, p in zip(names, wanted, strict=True) if p > 0.5]
    code, text = call("predict", run, "--vocab", VOCAB, "--text", TEXTS[0])
    likely = [
        f"{n} {p:.4f}"
        for n, p in zip(names, 1 / (1 + np.exp(-pooled_logits(bert, TEXTS[0]))), strict=True)
        if p > 0.5
    ]
    assert (code, text.split("\t")) == (0, ["; ".join(likely) or "-", f"{TEXTS[0]}\n"])


def test_sets_of_labels_leave_as_transformers_names_them(call, tmp_path):
    kind = {"task_type": '"multi_label_classification"', "assessment_method": '"micro_f1"'}
    run, _ = task_run(tmp_path, width=3, labels=["a", "b", "c"], **kind)
    output = tmp_path / "model"
    code, text = call("convert", run, "--to", "huggingface", "--output", output, "--vocab", VOCAB)
    assert code == 0, text
    described = json.loads((output / "config.json").read_text())
    assert described["problem_type"] == "multi_label_classification"
    assert described["architectures"] == ["BertForSequenceClassification"]
    ours, theirs = (json_lines(call, each, "--text", TEXTS[0]) for each in (run, output))
    assert ours == theirs
    card = " ".join((output / "README.md").read_text().split())
    assert "It gives any of 3 labels to a text: `a`, `b`, `c`." in card


def test_a_tab_makes_a_pair_where_the_user_says_so(call, tmp_path):
    run, bert = task_run(tmp_path)
    text = ("--text", "\t".join(TEXTS))
    (alone,) = json_lines(call, run, *text)
    (pair,) = json_lines(call, run, *text, "--pairs")
    for answer, texts in ((alone, [" ".join(TEXTS)]), (pair, TEXTS)):
        exponent = np.exp(pooled_logits(bert, *texts))
        assert list(answer["probabilities"]) == ["0", "1"]  # the labels' names are not known
        wanted = pytest.approx(exponent / exponent.sum(), abs=1e-4)
        assert list(answer["probabilities"].values()) == wanted


@pytest.mark.parametrize("columns", [{"text": "a", "text_pair": "b"}, {"text": "a"}])
def test_a_tab_makes_a_pair_where_the_network_was_trained_on_pairs(call, tmp_path, columns):
    run, bert = task_run(tmp_path, records=prepared_task(tmp_path, columns=columns))
    output = tmp_path / "model"
    call("convert", run, "--to", "huggingface", "--output", output, "--vocab", VOCAB)
    exponent = np.exp(pooled_logits(bert, *(TEXTS if len(columns) == 2 else [" ".join(TEXTS)])))
    for source in (run, output):
        (answer,) = json_lines(call, source, "--text", "\t".join(TEXTS))
        wanted = pytest.approx(exponent / exponent.sum(), abs=1e-4)
        assert list(answer["probabilities"].values()) == wanted


def test_a_text_that_is_too_long_is_said_to_be_cut(call, tmp_path):
    run, bert = task_run(tmp_path)
    texts = (TEXTS[0], " ".join(["river"] * 40))
    code, text = call("predict", run, "--vocab", VOCAB, "--format", "json", *text_options(texts))
    assert code == 0
    assert "warning: the end of 1 of 2 texts was not read" in text.splitlines()
    answers = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [answer["truncated"] for answer in answers] == [False, True]
    exponent = np.exp(pooled_logits(bert, " ".join(["river"] * 30)))
    wanted = pytest.approx(exponent / exponent.sum(), abs=1e-4)
    assert list(answers[1]["probabilities"].values()) == wanted


def text_options(texts):
    return [word for text in texts for word in ("--text", text)]


def test_outputs_that_are_not_finite_are_refused(call, tmp_path):
    run, _ = task_run(tmp_path)
    output = tmp_path / "model"
    call("convert", run, "--to", "huggingface", "--output", output, "--vocab", VOCAB)
    arrays = load_file(output / "model.safetensors")
    arrays["classifier.weight"] = np.full((2, 24), 3e38, np.float32)
    save_file(arrays, output / "model.safetensors")
    code, answer = call("predict", output, "--text", TEXTS[0])
    assert (code, answer) == (
        2,
        "error: the network's outputs for text 1 are not finite\n"
        "  --> DIR/model/model.safetensors\n",
    )


def test_a_regression_gives_a_number(call, tmp_path):
    run, bert = task_run(
        tmp_path, 1, task_type='"regression"', assessment_method='"pearson"', head='"relu_linear"'
    )
    (answer,) = json_lines(call, run, "--text", TEXTS[0])
    last = bert(*encoded(TEXTS[0]))[0][-1]
    pooled = np.tanh(bert.linear("pooler.dense", last[:, 0]))
    (wanted,) = bert.linear("classifier", np.maximum(pooled, 0))[0]
    assert answer == {
        "text": TEXTS[0],
        "truncated": False,
        "value": pytest.approx(wanted, abs=1e-4),
    }


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


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_standard_input_is_utf8_whatever_the_locale(call, tmp_path, monkeypatch, encoding):
    run, _ = task_run(tmp_path)
    stream = io.TextIOWrapper(io.BytesIO(b"a town\na t\xc3\xb6wn\na t\xf6wn\n"), encoding=encoding)
    monkeypatch.setattr("sys.stdin", stream)
    assert call("predict", run, "--vocab", VOCAB) == (
        2,
        "error: the line is not UTF-8\n  --> standard input, line 3\n",
    )


TAGS = ["O", "B-place", "I-place"]


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("cluener", "the river is cold here"),
        ("conll", "the town by the sea and a garden in the sun of the morning near the river"),
    ],
)
def test_tags_become_entities(task, text, tmp_path, call):
    records, characters = prepared_task(tmp_path, name=task), task == "cluener"
    options = {"task_type": '"ner"', "assessment_method": '"entity_f1"'}
    run, bert = task_run(tmp_path, 3, TAGS, records, **options)
    source = find_network(SourceRequest(run, tmp_path, None, None, VOCAB, None))
    words = list(text) if characters else text.split()
    last = bert(*encoded(" ".join(words)))[0][-1]
    bias = -bert.weights["classifier.weight"] @ last[0].mean(0)  # so that all tags are there
    bert.weights["classifier.bias"] = bias
    arrays = source.network.arrays | {"classifier.bias": bias.astype(np.float32)}
    source = replace(source, network=replace(source.network, arrays=arrays))
    (answer,) = predict_texts(source, [Text("here", text)], ReadAs())
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
    assert asdict(answer) == {"text": text, "truncated": False, "entities": entities}
    write_checkpoint(source, "huggingface", tmp_path / "model")
    assert json_lines(call, tmp_path / "model", "--text", text) == [asdict(answer)]


def test_a_directory_for_transformers_needs_nothing_else(call, tmp_path):
    run, _ = task_run(tmp_path, labels=["indoors", "outdoors"])
    output = tmp_path / "model"
    arguments = ("--to", "huggingface", "--output", output, "--vocab", VOCAB)
    assert call("convert", run, *arguments)[0] == 0
    from_run = call("predict", run, "--vocab", VOCAB, "--text", TEXTS[0])
    assert call("predict", output, "--text", TEXTS[0]) == from_run
    assert call("predict", run, "--text", TEXTS[0]) == from_run, "the records have it"
    tokenizer = build_tokenizer(load_vocabulary(VOCAB), TokenizerOptions(True, True))
    tokenizer.save(str(output / "tokenizer.json"))
    (output / "vocab.txt").unlink()
    assert call("predict", output, "--text", TEXTS[0]) == from_run, "as transformers 5 saves it"
    (output / "tokenizer_config.json").unlink()
    assert call("predict", output, "--lowercase", "--text", TEXTS[0]) == from_run
    assert call("predict", output, "--text", TEXTS[0]) == (
        2,
        "error: it is not known whether texts are lower-cased for this network\n"
        "help: say so: --lowercase, or --cased\n",
    )


@pytest.mark.parametrize("options", [{}, {"strip_accents": False}])
def test_the_options_of_a_tokenizer_are_honoured(call, tmp_path, options):
    run, _ = task_run(tmp_path)
    vocab = tmp_path / "vocab.txt"
    lines = VOCAB.read_text().splitlines()
    vocab.write_text("\n".join([*lines[:-2], "fur", "f\u00fcr"]) + "\n")
    output = tmp_path / "model"
    assert call("convert", run, "--to", "huggingface", "--output", output)[0] == 0
    config = output / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | options))
    (accents,) = json_lines(call, output, "--text", "f\u00fcr", vocab=vocab)
    (plain,) = json_lines(call, output, "--text", "fur", vocab=vocab)
    assert (accents["probabilities"] == plain["probabilities"]) == (not options)


def test_what_contradicts_the_training_is_refused(call, tmp_path):
    run, _ = task_run(tmp_path, records=prepared_task(tmp_path))
    for option in ("--cased", "--characters"):
        assert call("predict", run, "--vocab", VOCAB, option, "--text", TEXTS[0]) == (
            2,
            f"error: {option} is not how the network's training read texts\n",
        )


def test_what_cannot_be_answered_is_refused(call, student_run, tmp_path):
    run, _ = task_run(tmp_path, records=prepared_task(tmp_path))
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


@pytest.mark.parametrize("task_type", ["classification", "ner"])
def test_many_texts_come_back_in_their_order(tmp_path, monkeypatch, task_type):
    monkeypatch.setattr("tinybert.export.predict.GROUP", 16)
    monkeypatch.setattr("tinybert.export.predict.CALL_BLOCKS", 1)
    method = "accuracy" if task_type == "classification" else "entity_f1"
    changes = {"task_type": f'"{task_type}"', "assessment_method": f'"{method}"'}
    run, bert = task_run(tmp_path, labels=["O", "B-X"], **changes)
    words = "the river is cold and a town has no house in winter".split()
    texts = [" ".join(words[i % 5 : i % 5 + 1 + i * 7 % 8]) for i in range(40)]
    source = find_network(SourceRequest(run, tmp_path, None, None, VOCAB, None))
    if task_type == "ner":  # a bias with which all tags are there
        last = bert(*encoded(texts[4]))[0][-1]
        bias = -(bert.weights["classifier.weight"] @ last[0].mean(0)).astype(np.float32)
        arrays = source.network.arrays | {"classifier.bias": bias}
        source = replace(source, network=replace(source.network, arrays=arrays))
    given = [Text(f"text {i}", text) for i, text in enumerate(texts)]
    answers = list(predict_texts(source, given, ReadAs(characters=False)))
    assert [answer.text for answer in answers] == texts
    assert task_type == "classification" or len({len(a.entities) for a in answers}) > 2
    for text, answer in zip(texts, answers, strict=True):
        if task_type == "classification":
            exponent = np.exp(pooled_logits(bert, text))
            wanted = exponent / exponent.sum()
            assert list(answer.probabilities.values()) == pytest.approx(wanted, abs=1e-4)
        else:
            (alone,) = predict_texts(source, [Text("", text)], ReadAs(characters=False))
            assert answer.entities == alone.entities
