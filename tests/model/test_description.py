"""What a config.json describes, by the rules and defaults of transformers."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.model.networks import random_weights, tiny
from tinybert.data.labels import encode_labels
from tinybert.errors import InputError
from tinybert.model.description import (
    Description,
    TextKeys,
    describe_network,
    recorded_labels,
)
from tinybert.model.weights import read_weights
from tinybert.recipe.network import HeadConfig, NetworkConfig

SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 10,
}
SEQUENCE = {"architectures": ["BertForSequenceClassification"]}
TOKEN = {"architectures": ["BertForTokenClassification"]}


def arrays(labels, *, pooler=True):
    values = random_weights(tiny())
    if not pooler:
        values = {n: value for n, value in values.items() if not n.startswith("pooler.")}
    if labels:
        values["classifier.weight"] = np.ones((labels, 16), np.float32)
        values["classifier.bias"] = np.ones(labels, np.float32)
    return values


def describe(folder, content, values):
    (folder / "config.json").write_text(json.dumps(content))
    return describe_network(folder / "config.json", values)


def test_a_key_that_is_not_there_has_the_default_of_transformers(tmp_path):
    assert describe(tmp_path, {}, {}) == (
        NetworkConfig(
            vocab_size=30522,
            hidden_size=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=3072,
            hidden_act="gelu",
            layer_norm_eps=1e-12,
            max_position_embeddings=512,
            type_vocab_size=2,
            initializer_range=0.02,
            use_relative_positions=False,
            enable_fused_layernorm=False,
            dtype="float32",
            compute_type="float32",
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1,
        ),
        None,
        TextKeys(seq_length=512),
    )


def test_a_recipe_is_compared_with_the_defaults(tmp_path):
    save_file(random_weights(tiny()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    read_weights(tmp_path, tiny(), "teacher.")
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path, tiny(layer_norm_eps=1e-7), "teacher.")
    assert caught.value.message == (
        "the checkpoint is of another network:\n"
        "  layer_norm_eps is 1e-12 there and 1e-07 in the recipe"
    )


@pytest.mark.parametrize(
    ("content", "labels", "task_type"),
    [
        (SEQUENCE, 3, "classification"),
        (SEQUENCE, 1, "regression"),
        (SEQUENCE | {"problem_type": "single_label_classification"}, 2, "classification"),
        (SEQUENCE | {"problem_type": "regression"}, 1, "regression"),
        (
            SEQUENCE | {"problem_type": "multi_label_classification"},
            3,
            "multi_label_classification",
        ),
        (TOKEN, 3, "ner"),
        (TOKEN, 1, "ner"),
        ({}, 2, "classification"),
    ],
)
def test_the_head_is_the_named_one(tmp_path, content, labels, task_type):
    head = HeadConfig(task_type, labels, "linear", 0.1)
    assert describe(tmp_path, SIZES | content, arrays(labels))[1] == head


def test_the_head_of_answers_has_a_name_of_its_own(tmp_path):
    values = arrays(0, pooler=False)
    values["qa_outputs.weight"] = np.ones((2, 16), np.float32)
    values["qa_outputs.bias"] = np.ones(2, np.float32)
    content = SIZES | {"architectures": ["BertForQuestionAnswering"]}
    head = HeadConfig("question_answering", 2, "linear", 0.1)
    assert describe(tmp_path, content, values)[1] == head


@pytest.mark.parametrize(
    "architecture",
    ["BertModel", "BertForPreTraining", "BertForMaskedLM", "TinyBertForPreTraining", None],
)
def test_an_encoder_has_no_head(tmp_path, architecture):
    content = SIZES | {"architectures": architecture and [architecture]}
    assert describe(tmp_path, content, arrays(0))[1] is None


@pytest.mark.parametrize(
    ("content", "labels", "pooler", "problem"),
    [
        (TOKEN | {"problem_type": "anything"}, 3, True, "problem_type is 'anything'"),
        (SEQUENCE | {"problem_type": "regression"}, 2, True,
         "problem_type is 'regression', of 2 numbers"),
        (SEQUENCE | {"id2label": {"0": "a"}}, 2, True, "id2label has 1 labels, the classifier 2"),
        (SEQUENCE | {"id2label": ["a", "b"]}, 2, True, "id2label is ['a', 'b']"),
        (SEQUENCE | {"id2label": {"0": "a", "2": "b"}}, 2, True,
         "id2label has the ids 0, 2, not 0, 1, 2 and on"),
        (SEQUENCE | {"id2label": {"0": "a", "1": "a"}}, 2, True,
         "id2label gives one name to several labels: {'0': 'a', '1': 'a'}"),
        (SEQUENCE, 0, True,
         "architectures is ['BertForSequenceClassification'], and the file has no classifier"),
        ({"architectures": ["BertModel"]}, 2, True,
         "architectures is ['BertModel'], and the file has a classifier"),
        ({"architectures": ["BertForMultipleChoice"]}, 1, True,
         "architectures is ['BertForMultipleChoice']"),
        ({"architectures": ["BertForQuestionAnswering"]}, 0, True,
         "architectures is ['BertForQuestionAnswering'], and the file has no classifier"),
        ({"architectures": ["BertForQuestionAnswering"]}, 2, True,
         "architectures is ['BertForQuestionAnswering'], and the file has classifier"),
        ({}, 2, False, "architectures is None, and the file has a classifier"),
        ({}, 1, True, "architectures is None, and the file has a classifier"),
        ({"model_type": "roberta"}, 0, True, "model_type is 'roberta'"),
        ({"is_decoder": True}, 0, True, "is_decoder is True"),
    ],
)  # fmt: skip
def test_another_network_is_refused_by_name(tmp_path, content, labels, pooler, problem):
    with pytest.raises(InputError) as caught:
        describe(tmp_path, SIZES | content, arrays(labels, pooler=pooler))
    assert caught.value.message == (
        f"not the description of a BERT that this program has:\n  - {problem}"
    )


@pytest.mark.parametrize(
    ("content", "task_type", "problem"),
    [
        (SEQUENCE, "classification", None),
        ({}, "ner", None),
        (SEQUENCE, "ner", "the head is for classification there and ner in the recipe"),
        (
            {"problem_type": "multi_label_classification"},
            "classification",
            "the head is for multi_label_classification there and classification in the recipe",
        ),
        (
            {"architectures": ["BertForMultipleChoice"]},
            "classification",
            "architectures is ['BertForMultipleChoice']",
        ),
    ],
)
def test_a_head_that_a_recipe_takes_from_a_file_is_compared(tmp_path, content, task_type, problem):
    save_file(arrays(3), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(SIZES | content))
    head = HeadConfig(task_type, 3, "linear", 0.1)
    if problem is None:
        assert (
            "teacher.classifier.bias"
            in read_weights(tmp_path, tiny(), "teacher.", head=head).arrays
        )
        return
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path, tiny(), "teacher.", head=head)
    assert caught.value.message == f"the checkpoint is of another network:\n  {problem}"
    read_weights(tmp_path, tiny(), "teacher.")  # the encoder alone


def test_deep_json_is_damaged(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not a description of a network"):
        Description.read(tmp_path / "config.json")


ARRAYS = {"x": np.zeros(2, np.float32)}


def test_a_runs_checkpoint_says_its_labels(tmp_path):
    path = tmp_path / "best.safetensors"
    save_file(ARRAYS, path, metadata=encode_labels(("yes", "nö")))
    assert recorded_labels(path) == ("yes", "nö")


def test_a_checkpoint_without_labels_says_nothing(tmp_path):
    save_file(ARRAYS, tmp_path / "a.safetensors", metadata=encode_labels(None))
    assert recorded_labels(tmp_path / "a.safetensors") is None
    (tmp_path / "b.ckpt").write_bytes(b"")
    assert recorded_labels(tmp_path / "b.ckpt") is None
    assert recorded_labels(tmp_path / "missing.safetensors") is None


@pytest.mark.parametrize(
    ("id2label", "expected"),
    [
        ({"1": "b", "0": "a"}, ("a", "b")),
        ({"0": "LABEL_0", "1": "LABEL_1"}, None),
        ({"0": "a", "2": "b"}, None),
        ({"zero": "a"}, None),
        (None, None),
        (["a", "b"], None),
    ],
)
def test_hugging_faces_description_says_them_where_they_are_names(tmp_path, id2label, expected):
    save_file(ARRAYS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": id2label}))
    assert recorded_labels(tmp_path) == expected
    assert recorded_labels(tmp_path / "model.safetensors") == expected


def test_a_damaged_description_says_nothing(tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert recorded_labels(tmp_path) is None
