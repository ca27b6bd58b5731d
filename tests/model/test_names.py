import pytest

from tests.model.networks import tiny
from tinybert.model.names import FAMILIES, canonical_names, is_head, names_in
from tinybert.model.parameters import encoder_shapes, pretraining_shapes

ENCODER = tuple(encoder_shapes(tiny(num_hidden_layers=12)))
CLASSIFIER = ("classifier.weight", "classifier.bias")
PRETRAINING = tuple(
    pretraining_shapes(["cls.predictions.bias", "cls.seq_relationship.bias"], tiny())
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


def gamma_and_beta(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


SEEN = {
    "hugging face": {name: name for name in DOCUMENTED},
    "hugging face with heads": {name: f"bert.{name}" for name in DOCUMENTED},
    "hugging face from tensorflow": {n: f"bert.{gamma_and_beta(n)}" for n in DOCUMENTED},
    "mindspore pretrained": {ours: f"bert.bert.{theirs}" for ours, theirs in DOCUMENTED.items()},
    "mindspore fine-tuned": {ours: f"bert.{theirs}" for ours, theirs in DOCUMENTED.items()},
    "mindspore bare": DOCUMENTED,
    "mindspore older": {
        ours: OLDER.get(ours, f"bert.bert.{theirs}") for ours, theirs in DOCUMENTED.items()
    },
    "mindspore student": {
        ours: "bert." + theirs.replace("bert_", "tinybert_") for ours, theirs in DOCUMENTED.items()
    },
    "own student": {name: f"student.{name}" for name in DOCUMENTED},
    "own teacher": {name: f"teacher.{name}" for name in DOCUMENTED},
}
"""Names in files by canonical name, in every form that public checkpoints have."""


@pytest.mark.parametrize("family", SEEN)
def test_names_of_every_family_become_canonical(family):
    assert canonical_names(SEEN[family].values()) == SEEN[family]


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
    assert canonical_names(names.values()) == names


def test_a_student_with_a_head_has_no_names():
    with pytest.raises(ValueError) as caught:
        names_in("mindspore-student", [*ENCODER, *CLASSIFIER])
    assert str(caught.value) == "mindspore-student has no name for classifier.weight"


def test_heads_of_tensorflow_style_are_read():
    norm = "cls.predictions.transform.LayerNorm"
    names = canonical_names([*ENCODER, f"{norm}.gamma", f"{norm}.beta"])
    assert (names[f"{norm}.weight"], names[f"{norm}.bias"]) == (f"{norm}.gamma", f"{norm}.beta")


@pytest.mark.parametrize(
    ("part", "canonical"),
    [
        ("cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.weight"),
        ("cls.seq_relationship.bias", "cls.seq_relationship.bias"),
        ("bert.cls1.output_bias", "cls.predictions.bias"),
        ("bert.cls2.dense.weight", "cls.seq_relationship.weight"),
        ("classifier.weight", "classifier.weight"),
        ("dense_1.weight", "classifier.weight"),
        ("qa_outputs.weight", "qa_outputs.weight"),
        ("bert.dense1.bias", "qa_outputs.bias"),
        ("fit_dense.weight", "fit_dense.weight"),
        ("fit_dense.0.bias", "fit_dense.0.bias"),
    ],
)
def test_parts_that_follow_an_encoder_are_known_by_name(part, canonical):
    names = canonical_names([*DOCUMENTED, part])
    assert names == {name: name for name in DOCUMENTED} | {canonical: part}
    assert [name for name in names if is_head(name)] == [canonical]


@pytest.mark.parametrize(
    "other",
    [
        "bert.embeddings.position_ids",
        "adam_m.student.embeddings.word_embeddings.weight",
        "adam_m.student.classifier.weight",
        "adam_v.bert.bert.bert_embedding_lookup.embedding_table",
        "moments.bert.dense.weight",
        "moments.dense_1.bias",
        "loss_scale",
        "global_step",
        "clean_steps",
        "scale_sense",
        "beta1_power",
    ],
)
def test_what_belongs_to_no_network_has_no_canonical_name(other):
    assert canonical_names([*DOCUMENTED, other]) == {name: name for name in DOCUMENTED}


def test_an_unknown_name_stays_for_the_comparison_to_refuse():
    names = canonical_names([*DOCUMENTED, "encoder.layer.0.adapter.weight"])
    assert names["encoder.layer.0.adapter.weight"] == "encoder.layer.0.adapter.weight"


def test_relative_positions_of_the_seed_have_a_canonical_name():
    table = "bert.bert_encoder.layers.3.attention.attention.embeddings_for_position"
    names = canonical_names(["bert.bert_embedding_lookup.embedding_table", table])
    assert names["encoder.layer.3.attention.self.relative_positions.weight"] == table


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no word embeddings of a known family of names"),
        (["features.0.weight"], "no word embeddings of a known family of names"),
        (
            ["teacher.embeddings.word_embeddings.weight", "bert_embedding_lookup.embedding_table"],
            "word embeddings of several networks: teacher.embeddings.word_embeddings.weight, "
            "bert_embedding_lookup.embedding_table",
        ),
        (
            [*DOCUMENTED, "embeddings.LayerNorm.gamma"],
            "embeddings.LayerNorm.weight and embeddings.LayerNorm.gamma are both "
            "embeddings.LayerNorm.weight",
        ),
        (
            [*DOCUMENTED, "classifier.weight", "bert.dense_1.weight"],
            "classifier.weight and bert.dense_1.weight are both classifier.weight",
        ),
    ],
)
def test_names_of_no_single_network_are_refused(names, message):
    with pytest.raises(ValueError) as caught:
        canonical_names(names)
    assert str(caught.value) == message
