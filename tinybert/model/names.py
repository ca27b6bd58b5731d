"""The names of a network's parameters in every family of checkpoints: one table, read both ways.

Canonical names are those of Hugging Face: the encoder's as in BertModel, without prefix;
`classifier.*` the head of a task; `cls.*` the heads of pretraining; `fit_dense.*` the
distillation's projection.
"""

import re
from collections.abc import Iterable
from typing import Literal

Family = Literal["huggingface", "mindspore", "mindspore-older", "mindspore-student"]
FAMILIES: tuple[Family, ...] = (
    "huggingface",
    "mindspore",
    "mindspore-older",
    "mindspore-student",
)
"""`mindspore`: as the official programs save a pretrained or fine-tuned network.

`mindspore-older`: the same before the embedding tables had cells of their own.
`mindspore-student`: the student of the official general distillation, which has no head.
"""

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
POSITION_EMBEDDINGS = "embeddings.position_embeddings.weight"
POOLER = "pooler.dense"
CLASSIFIER = "classifier"
FIT_DENSE = "fit_dense"

_LINEAR_MAPS = {
    "encoder.layer.{i}.attention.self.query": (
        "bert_encoder.layers.{i}.attention.attention.query_layer"
    ),
    "encoder.layer.{i}.attention.self.key": "bert_encoder.layers.{i}.attention.attention.key_layer",
    "encoder.layer.{i}.attention.self.value": (
        "bert_encoder.layers.{i}.attention.attention.value_layer"
    ),
    "encoder.layer.{i}.attention.output.dense": "bert_encoder.layers.{i}.attention.output.dense",
    "encoder.layer.{i}.intermediate.dense": "bert_encoder.layers.{i}.intermediate",
    "encoder.layer.{i}.output.dense": "bert_encoder.layers.{i}.output.dense",
    POOLER: "dense",
    CLASSIFIER: "dense_1",
    "cls.predictions.transform.dense": "cls1.dense",
    "cls.seq_relationship": "cls2.dense",
}
_LAYER_NORMS = {
    "embeddings.LayerNorm": "bert_embedding_postprocessor.layernorm",
    "encoder.layer.{i}.attention.output.LayerNorm": (
        "bert_encoder.layers.{i}.attention.output.layernorm"
    ),
    "encoder.layer.{i}.output.LayerNorm": "bert_encoder.layers.{i}.output.layernorm",
    "cls.predictions.transform.LayerNorm": "cls1.layernorm",
}
_RELATIVE_POSITIONS = "encoder.layer.{i}.attention.self.relative_positions.weight"
_ATTENTION = "bert_encoder.layers.{i}.attention.attention"
_MINDSPORE = {
    WORD_EMBEDDINGS: "bert_embedding_lookup.embedding_table",
    POSITION_EMBEDDINGS: "bert_embedding_postprocessor.full_position_embedding.embedding_table",
    "embeddings.token_type_embeddings.weight": (
        "bert_embedding_postprocessor.token_type_embedding.embedding_table"
    ),
    _RELATIVE_POSITIONS: f"{_ATTENTION}._generate_relative_positions_embeddings.embeddings_table",
    "cls.predictions.bias": "cls1.output_bias",
    **{f"{ours}.{x}": f"{theirs}.{x}" for x in ("weight", "bias")
       for ours, theirs in _LINEAR_MAPS.items()},
    **{f"{ours}.weight": f"{theirs}.gamma" for ours, theirs in _LAYER_NORMS.items()},
    **{f"{ours}.bias": f"{theirs}.beta" for ours, theirs in _LAYER_NORMS.items()},
}
"""The official programs' name of every parameter by canonical name; `{i}` is the layer."""
_OLDER = _MINDSPORE | {
    POSITION_EMBEDDINGS: "bert_embedding_postprocessor.full_position_embeddings",
    "embeddings.token_type_embeddings.weight": "bert_embedding_postprocessor.embedding_table",
    _RELATIVE_POSITIONS: (
        f"{_ATTENTION}._generate_relative_positions_embeddings.embeddings_for_position"
    ),
}
TIED = {
    "cls.predictions.decoder.weight": WORD_EMBEDDINGS,
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
"""Names under which Hugging Face may save a parameter a second time."""

_FROM_HUGGING_FACE = {
    **{name: name for name in (*_MINDSPORE, *TIED)},
    **{f"{norm}.gamma": f"{norm}.weight" for norm in _LAYER_NORMS},
    **{f"{norm}.beta": f"{norm}.bias" for norm in _LAYER_NORMS},
}
_FROM_MINDSPORE = {
    **{theirs: ours for table in (_MINDSPORE, _OLDER) for ours, theirs in table.items()},
    f"{_ATTENTION}.embeddings_table": _RELATIVE_POSITIONS,
    f"{_ATTENTION}.embeddings_for_position": _RELATIVE_POSITIONS,
}

TRAINING_STATE = re.compile(
    r"^(?:adam_[mv]|moments?[12]?|accu_grads|accumulation|lamb_[mv])\."
    r"|^(?:loss_scale|scale_sense|scale_window|clean_steps|global_step|optimizer_step|step_num"
    r"|epoch_num|learning_rate|beta[12]_power|current_iterator_step|last_overflow_iterator_step)$"
)
"""What checkpoints hold besides networks: optimizer slots, counters, loss scale."""
_BUFFER = re.compile(r"(?:^|\.)embeddings\.(?:position_ids|token_type_ids)$")
_HEAD = re.compile(r"(?:^|\.)((?:cls[12]?|classifier|qa_outputs|dense_1|fit_dense)\..*)$")
"""Heads and the distillation's projection, behind any prefix."""
_ANCHOR = re.compile(
    r"(?:(?P<mindspore>(?:tiny)?bert_embedding_lookup\.embedding_table)"
    r"|embeddings\.word_embeddings\.weight)$"
)
"""The word embeddings, which tell the family and the prefix: every family has them once."""
_LAYER = re.compile(r"(?<=\blayer\.|layers\.)\d+")


def is_head(name: str) -> bool:
    """Return whether a canonical name belongs to a head or to the distillation's projection."""
    return name.startswith(("cls.", f"{CLASSIFIER}.", f"{FIT_DENSE}."))
