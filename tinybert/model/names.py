"""The names of a network's parameters in every family of checkpoints: one table, read both ways.

Canonical names are those of Hugging Face: the encoder's as in BertModel, without prefix;
`classifier.*` or `qa_outputs.*` the head of a task; `cls.*` the heads of pretraining;
`fit_dense.*` the distillation's projection.
"""

import re
from collections.abc import Iterable
from typing import Literal, get_args

from tinybert.recipe.task_types import TaskType

Family = Literal["huggingface", "mindspore", "mindspore-older", "mindspore-student"]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""`mindspore`: as the official programs save a pretrained or fine-tuned network.

`mindspore-older`: the same before the embedding tables had cells of their own.
`mindspore-student`: the student of the official general distillation, which has no head.
"""

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
POSITION_EMBEDDINGS = "embeddings.position_embeddings.weight"
SEGMENT_EMBEDDINGS = "embeddings.token_type_embeddings.weight"
POOLER = "pooler.dense"
CLASSIFIER = "classifier"
QA_OUTPUTS = "qa_outputs"
"""The head of question answering; that of every other task is `CLASSIFIER`."""
FIT_DENSE = "fit_dense"
MASKED_LM = "cls.predictions"
"""The head of masked language modelling."""

_OURS, _THEIRS = "encoder.layer.{i}", "bert_encoder.layers.{i}"
_RELATIVE_POSITIONS = f"{_OURS}.attention.self.relative_positions.weight"
_THEIR_RELATIVE_POSITIONS = f"{_THEIRS}.attention.attention._generate_relative_positions_embeddings"
_LINEAR_MAPS = {
    f"{_OURS}.attention.self.query": f"{_THEIRS}.attention.attention.query_layer",
    f"{_OURS}.attention.self.key": f"{_THEIRS}.attention.attention.key_layer",
    f"{_OURS}.attention.self.value": f"{_THEIRS}.attention.attention.value_layer",
    f"{_OURS}.attention.output.dense": f"{_THEIRS}.attention.output.dense",
    f"{_OURS}.intermediate.dense": f"{_THEIRS}.intermediate",
    f"{_OURS}.output.dense": f"{_THEIRS}.output.dense",
    POOLER: "dense",
    CLASSIFIER: "dense_1",
    QA_OUTPUTS: "dense1",
    "cls.predictions.transform.dense": "cls1.dense",
    "cls.seq_relationship": "cls2.dense",
}
_LAYER_NORMS = {
    "embeddings.LayerNorm": "bert_embedding_postprocessor.layernorm",
    f"{_OURS}.attention.output.LayerNorm": f"{_THEIRS}.attention.output.layernorm",
    f"{_OURS}.output.LayerNorm": f"{_THEIRS}.output.layernorm",
    "cls.predictions.transform.LayerNorm": "cls1.layernorm",
}
_MINDSPORE = {
    WORD_EMBEDDINGS: "bert_embedding_lookup.embedding_table",
    POSITION_EMBEDDINGS: "bert_embedding_postprocessor.full_position_embedding.embedding_table",
    SEGMENT_EMBEDDINGS: "bert_embedding_postprocessor.token_type_embedding.embedding_table",
    _RELATIVE_POSITIONS: f"{_THEIR_RELATIVE_POSITIONS}.embeddings_table",
    "cls.predictions.bias": "cls1.output_bias",
    **{f"{ours}.weight": f"{theirs}.weight" for ours, theirs in _LINEAR_MAPS.items()},
    **{f"{ours}.bias": f"{theirs}.bias" for ours, theirs in _LINEAR_MAPS.items()},
    **{f"{ours}.weight": f"{theirs}.gamma" for ours, theirs in _LAYER_NORMS.items()},
    **{f"{ours}.bias": f"{theirs}.beta" for ours, theirs in _LAYER_NORMS.items()},
}
"""The official programs' name of every parameter by canonical name; `{i}` is the layer."""
_OLDER = {
    POSITION_EMBEDDINGS: "bert_embedding_postprocessor.full_position_embeddings",
    SEGMENT_EMBEDDINGS: "bert_embedding_postprocessor.embedding_table",
    _RELATIVE_POSITIONS: f"{_THEIR_RELATIVE_POSITIONS}.embeddings_for_position",
}
"""What the older programs call differently."""
_BARE = {_RELATIVE_POSITIONS: f"{_THEIRS}.attention.attention.embeddings_for_position"}
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
    student + theirs: ours
    for student in ("", "tiny")
    for table in (_MINDSPORE, _OLDER, _BARE)
    for ours, theirs in table.items()
}
_WORD_EMBEDDINGS = re.compile(
    r"(embeddings\.word_embeddings\.weight|(?:tiny)?bert_embedding_lookup\.embedding_table)$"
)
_LAYER = re.compile(r"(?<=\.layer\.)\d+|(?<=\.layers\.)\d+")
_HEAD = re.compile(r"(?:^|\.)((?:cls[12]?|classifier|qa_outputs|dense_?1|fit_denses?)\..*)$")
"""A head or the distillation's projection, after any prefix."""
_FIT_DENSE = re.compile(r"fit_denses?(\..+)")
"""The second version of TinyBERT's own program has `fit_denses.0` and so on, one a layer."""
_BUFFER = re.compile(r"(?:^|\.)embeddings\.(?:position_ids|token_type_ids)$")
TRAINING_STATE = re.compile(
    r"^(?:adam_[mv]|moments?[12]?|accu_grads|accumulation|lamb_[mv])\."
    r"|^(?:loss_scale|scale_sense|scale_window|clean_steps|global_step|optimizer_step|step_num"
    r"|epoch_num|learning_rate|beta[12]_power|current_iterator_step|last_overflow_iterator_step)$"
)
"""What checkpoints hold besides networks: optimizer slots, counters, loss scale."""


def is_head(name: str) -> bool:
    """Return whether a canonical name is of a head or of the distillation's projection."""
    return name.startswith((f"{CLASSIFIER}.", f"{QA_OUTPUTS}.", f"{FIT_DENSE}.", "cls."))


def head_name(task_type: TaskType) -> str:
    """Return what the names of a task's head begin with."""
    return QA_OUTPUTS if task_type == "question_answering" else CLASSIFIER


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Return the file's name of every parameter by canonical name.

    Buffers, the state of a training and unknown heads have none. A name of no family stays as
    it is, for the comparison with the network to refuse.

    Raises:
        ValueError: No network or more than one is in the file, or two names mean the same.
    """
    encoder: list[str] = []
    heads: list[tuple[str, str]] = []
    for name in names:
        if TRAINING_STATE.search(name) or _BUFFER.search(name):
            continue
        if (head := _HEAD.search(name)) is None:
            encoder.append(name)
        elif known := (_FROM_HUGGING_FACE | _FROM_MINDSPORE).get(head[1]):
            heads.append((known, name))
        elif fit_dense := _FIT_DENSE.match(head[1]):
            heads.append((f"{FIT_DENSE}{fit_dense[1]}", name))
    prefix, table = _family_of(encoder)
    canonical: dict[str, str] = {}
    for meaning, name in (
        *((_translated(table, name.removeprefix(prefix)), name) for name in encoder),
        *heads,
    ):
        if meaning in canonical:
            raise ValueError(f"{canonical[meaning]} and {name} are both {meaning}")
        canonical[meaning] = name
    return canonical


def _family_of(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return what all names start with, and canonical names by the family's, from the anchor.

    Every family has the word embeddings once.
    """
    anchors = [match for name in names if (match := _WORD_EMBEDDINGS.search(name))]
    if not anchors:
        raise ValueError("no word embeddings of a known family of names")
    if len(anchors) > 1:
        listed = ", ".join(match.string for match in anchors)
        raise ValueError(f"word embeddings of several networks: {listed}")
    (anchor,) = anchors
    table = _FROM_HUGGING_FACE if anchor[1] == WORD_EMBEDDINGS else _FROM_MINDSPORE
    return anchor.string[: anchor.start()], table


def names_in(family: Family, names: Iterable[str]) -> dict[str, str]:
    """Return the family's name of every parameter of a whole network by canonical name.

    Raises:
        ValueError: The family has no name for one of them.
    """
    names = list(names)
    if family == "huggingface":
        prefix = "bert." if any(map(is_head, names)) else ""
        return {name: name if is_head(name) else prefix + name for name in names}
    table = _MINDSPORE | _OLDER if family == "mindspore-older" else _MINDSPORE
    return {name: _mindspore_name(family, table, name) for name in names}


def _mindspore_name(family: Family, table: dict[str, str], name: str) -> str:
    student = family == "mindspore-student"
    theirs = _translated(table, name)
    if theirs == name or (student and is_head(name)):
        raise ValueError(f"{family} has no name for {name}")
    if student:
        return "bert." + re.sub("^bert_", "tinybert_", theirs)
    return f"bert.{theirs}" if is_head(name) else f"bert.bert.{theirs}"


def _translated(table: dict[str, str], name: str) -> str:
    """Return what a table has for a name; without entry, the name."""
    layer = _LAYER.search(name)
    if layer is None:
        return table.get(name, name)
    template = name[: layer.start()] + "{i}" + name[layer.end() :]
    return table.get(template, template).replace("{i}", layer[0])
