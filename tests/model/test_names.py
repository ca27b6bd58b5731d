import pytest

from tinybert.model.names import translate

HUGGING_FACE = (
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias",
    "encoder.layer.11.attention.self.query.weight",
    "encoder.layer.11.attention.self.key.bias",
    "encoder.layer.11.attention.self.value.weight",
    "encoder.layer.11.attention.output.dense.weight",
    "encoder.layer.11.attention.output.LayerNorm.weight",
    "encoder.layer.11.intermediate.dense.bias",
    "encoder.layer.11.output.dense.weight",
    "encoder.layer.11.output.LayerNorm.bias",
    "pooler.dense.weight",
)
MINDSPORE = (
    "bert_embedding_lookup.embedding_table",
    "bert_embedding_postprocessor.full_position_embedding.embedding_table",
    "bert_embedding_postprocessor.token_type_embedding.embedding_table",
    "bert_embedding_postprocessor.layernorm.gamma",
    "bert_embedding_postprocessor.layernorm.beta",
    "bert_encoder.layers.11.attention.attention.query_layer.weight",
    "bert_encoder.layers.11.attention.attention.key_layer.bias",
    "bert_encoder.layers.11.attention.attention.value_layer.weight",
    "bert_encoder.layers.11.attention.output.dense.weight",
    "bert_encoder.layers.11.attention.output.layernorm.gamma",
    "bert_encoder.layers.11.intermediate.bias",
    "bert_encoder.layers.11.output.dense.weight",
    "bert_encoder.layers.11.output.layernorm.beta",
    "dense.weight",
)
OLDER = {
    "bert_embedding_postprocessor.full_position_embedding.embedding_table": (
        "bert_embedding_postprocessor.full_position_embeddings"
    ),
    "bert_embedding_postprocessor.token_type_embedding.embedding_table": (
        "bert_embedding_postprocessor.embedding_table"
    ),
}
PAIRS = tuple(zip(HUGGING_FACE, MINDSPORE, strict=True))


def gamma_and_beta(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


FAMILIES = {
    "hugging face": {name: name for name in HUGGING_FACE},
    "hugging face with heads": {name: f"bert.{name}" for name in HUGGING_FACE},
    "hugging face from tensorflow": {n: f"bert.{gamma_and_beta(n)}" for n in HUGGING_FACE},
    "mindspore pretrained": {ours: f"bert.bert.{theirs}" for ours, theirs in PAIRS},
    "mindspore fine-tuned": {ours: f"bert.{theirs}" for ours, theirs in PAIRS},
    "mindspore bare": dict(PAIRS),
    "mindspore older": {ours: f"bert.bert.{OLDER.get(n, n)}" for ours, n in PAIRS},
    "mindspore student": {
        ours: "bert." + theirs.replace("bert_", "tinybert_") for ours, theirs in PAIRS
    },
    "own student": {name: f"student.{name}" for name in HUGGING_FACE},
    "own teacher": {name: f"teacher.{name}" for name in HUGGING_FACE},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_names_of_every_family_become_canonical(family):
    names = translate(FAMILIES[family].values())
    assert names.canonical == FAMILIES[family]
    assert names.dropped == ()


@pytest.mark.parametrize(
    "other",
    [
        "cls.predictions.transform.dense.weight",
        "cls.seq_relationship.bias",
        "bert.cls1.output_bias",
        "bert.cls2.dense.weight",
        "classifier.weight",
        "dense_1.weight",
        "bert.embeddings.position_ids",
        "fit_dense.weight",
        "fit_dense.0.bias",
        "adam_m.student.embeddings.word_embeddings.weight",
        "adam_v.bert.bert.bert_embedding_lookup.embedding_table",
        "moments.bert.dense.weight",
        "loss_scale",
        "global_step",
        "clean_steps",
        "scale_sense",
        "beta1_power",
    ],
)
def test_parts_of_no_encoder_are_dropped_by_name(other):
    names = translate([*HUGGING_FACE, other])
    assert names.dropped == (other,)
    assert tuple(names.canonical) == HUGGING_FACE


def test_an_unknown_name_stays_for_the_comparison_to_refuse():
    names = translate([*HUGGING_FACE, "encoder.layer.0.adapter.weight"])
    assert names.canonical["encoder.layer.0.adapter.weight"] == "encoder.layer.0.adapter.weight"


def test_relative_positions_of_the_seed_have_a_canonical_name():
    table = "bert.bert_encoder.layers.3.attention.attention.embeddings_for_position"
    names = translate(["bert.bert_embedding_lookup.embedding_table", table])
    assert names.canonical["encoder.layer.3.attention.self.relative_positions.weight"] == table


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
            [*HUGGING_FACE, "embeddings.LayerNorm.gamma"],
            "embeddings.LayerNorm.weight and embeddings.LayerNorm.gamma are both "
            "embeddings.LayerNorm.weight",
        ),
    ],
)
def test_names_of_no_single_network_are_refused(names, message):
    with pytest.raises(ValueError) as caught:
        translate(names)
    assert str(caught.value) == message
