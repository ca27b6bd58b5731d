import pytest

from tests.model.networks import tiny
from tinybert.model.families import FAMILIES, canonical_names, names_in, pretraining_shapes
from tinybert.model.parameters import encoder_shapes

ENCODER = tuple(encoder_shapes(tiny(num_hidden_layers=12)))
CLASSIFIER = ("classifier.weight", "classifier.bias")
PRETRAINING = tuple(
    pretraining_shapes(["cls.predictions.bias", "cls.seq_relationship.bias"], 31, 16)
)

DOCUMENTED = {
    "embeddings.word_embeddings.weight": "bert_embedding_lookup.embedding_table",
    "embeddings.token_type_embeddings.weight": (
        "bert_embedding_postprocessor.token_type_embedding.embedding_table"
    ),
    "embeddings.position_embeddings.weight": (
        "bert_embedding_postprocessor.full_position_embedding.embedding_table"
    ),
    "embeddings.LayerNorm.weight": "bert_embedding_postprocessor.layernorm.gamma",
    "embeddings.LayerNorm.bias": "bert_embedding_postprocessor.layernorm.beta",
    "encoder.layer.11.attention.self.query.weight": (
        "bert_encoder.layers.11.attention.attention.query_layer.weight"
    ),
    "encoder.layer.11.attention.self.key.bias": (
        "bert_encoder.layers.11.attention.attention.key_layer.bias"
    ),
    "encoder.layer.0.attention.self.value.weight": (
        "bert_encoder.layers.0.attention.attention.value_layer.weight"
    ),
    "encoder.layer.0.attention.output.dense.weight": (
        "bert_encoder.layers.0.attention.output.dense.weight"
    ),
    "encoder.layer.0.attention.output.LayerNorm.weight": (
        "bert_encoder.layers.0.attention.output.layernorm.gamma"
    ),
    "encoder.layer.0.intermediate.dense.bias": "bert_encoder.layers.0.intermediate.bias",
    "encoder.layer.0.output.dense.weight": "bert_encoder.layers.0.output.dense.weight",
    "encoder.layer.0.output.LayerNorm.bias": "bert_encoder.layers.0.output.layernorm.beta",
    "pooler.dense.weight": "dense.weight",
    "pooler.dense.bias": "dense.bias",
}
"""The table of the official program's names."""

OLDER = {
    "embeddings.token_type_embeddings.weight": (
        "bert.bert.bert_embedding_postprocessor.embedding_table"
    ),
    "embeddings.position_embeddings.weight": (
        "bert.bert.bert_embedding_postprocessor.full_position_embeddings"
    ),
}


def test_names_of_mindspore_are_the_documented_ones():
    names = names_in("mindspore", ENCODER)
    assert {n: names[n] for n in DOCUMENTED} == {
        n: f"bert.bert.{theirs}" for n, theirs in DOCUMENTED.items()
    }


def test_older_names_differ_in_two_embedding_tables():
    new, older = names_in("mindspore", ENCODER), names_in("mindspore-older", ENCODER)
    assert {n: older[n] for n in ENCODER if older[n] != new[n]} == OLDER


def test_relative_positions_have_a_documented_name():
    name = "encoder.layer.3.attention.self.relative_positions.weight"
    cell = "bert.bert.bert_encoder.layers.3.attention.attention"
    generator = f"{cell}._generate_relative_positions_embeddings"
    assert names_in("mindspore", [name]) == {name: f"{generator}.embeddings_table"}
    assert names_in("mindspore-older", [name]) == {name: f"{generator}.embeddings_for_position"}


def test_the_student_of_the_general_distillation_has_names_of_its_own():
    names = names_in("mindspore-student", ENCODER)
    assert {n: names[n] for n in DOCUMENTED} == {
        n: "bert." + theirs.replace("bert_", "tinybert_") for n, theirs in DOCUMENTED.items()
    }


def test_an_encoder_of_hugging_face_has_no_prefix_and_one_with_a_head_has():
    assert names_in("huggingface", ENCODER) == {n: n for n in ENCODER}
    names = names_in("huggingface", [*ENCODER, *CLASSIFIER])
    assert names == {n: f"bert.{n}" for n in ENCODER} | {n: n for n in CLASSIFIER}


@pytest.mark.parametrize("family", ["mindspore", "mindspore-older"])
def test_heads_of_mindspore_are_beside_the_encoder(family):
    names = names_in(family, [*ENCODER, *CLASSIFIER, *PRETRAINING])
    assert {n: names[n] for n in (*CLASSIFIER, *PRETRAINING)} == {
        "classifier.weight": "bert.dense_1.weight",
        "classifier.bias": "bert.dense_1.bias",
        "cls.predictions.transform.dense.weight": "bert.cls1.dense.weight",
        "cls.predictions.transform.dense.bias": "bert.cls1.dense.bias",
        "cls.predictions.transform.LayerNorm.weight": "bert.cls1.layernorm.gamma",
        "cls.predictions.transform.LayerNorm.bias": "bert.cls1.layernorm.beta",
        "cls.predictions.bias": "bert.cls1.output_bias",
        "cls.seq_relationship.weight": "bert.cls2.dense.weight",
        "cls.seq_relationship.bias": "bert.cls2.dense.bias",
    }


HEADS = ((), CLASSIFIER, PRETRAINING, CLASSIFIER + PRETRAINING)


@pytest.mark.parametrize(
    ("family", "heads"),
    [(f, heads) for f in FAMILIES for heads in HEADS if f != "mindspore-student" or not heads],
)
@pytest.mark.parametrize("relative", [False, True])
def test_every_written_name_is_read_back(family, relative, heads):
    encoder = encoder_shapes(tiny(use_relative_positions=relative))
    names = names_in(family, [*encoder, *heads])
    assert len(set(names.values())) == len(names)
    assert canonical_names(names.values()) == (names, ())


def test_a_student_with_a_head_has_no_names():
    with pytest.raises(ValueError) as caught:
        names_in("mindspore-student", [*ENCODER, *CLASSIFIER])
    assert str(caught.value) == "mindspore-student has no name for classifier.weight"


def test_heads_of_tensorflow_style_are_read():
    norm = "cls.predictions.transform.LayerNorm"
    names, left = canonical_names([*ENCODER, f"{norm}.gamma", f"{norm}.beta"])
    assert (names[f"{norm}.weight"], names[f"{norm}.bias"]) == (f"{norm}.gamma", f"{norm}.beta")
    assert left == ()


def test_state_of_a_training_is_no_head():
    state = ("adam_m.student.classifier.weight", "moments.dense_1.bias", "fit_dense.weight")
    names, left = canonical_names([*(f"student.{n}" for n in ENCODER), *state])
    assert tuple(names) == ENCODER
    assert left == state


def test_one_head_under_two_names_is_refused():
    with pytest.raises(ValueError) as caught:
        canonical_names([*ENCODER, "classifier.weight", "bert.dense_1.weight"])
    assert "classifier.weight and bert.dense_1.weight are both classifier.weight" == str(
        caught.value
    )
