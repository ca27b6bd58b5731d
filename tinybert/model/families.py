"""The names under which each family of checkpoints has a network's parameters, both ways.

Canonical names are those of Hugging Face: the encoder's as in BertModel, without prefix;
`classifier.*` the head of a task; `cls.*` the heads of pretraining.
"""

import re
from collections.abc import Iterable
from typing import Literal

from tinybert.model.names import TRAINING_STATE, translate

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

CLASSIFIER = "classifier."
PRETRAINING = "cls."

_POSTPROCESSOR = "bert_embedding_postprocessor"
_MINDSPORE = (
    (r"^embeddings\.word_embeddings\.weight$", "bert_embedding_lookup.embedding_table"),
    (
        r"^embeddings\.token_type_embeddings\.weight$",
        f"{_POSTPROCESSOR}.token_type_embedding.embedding_table",
    ),
    (
        r"^embeddings\.position_embeddings\.weight$",
        f"{_POSTPROCESSOR}.full_position_embedding.embedding_table",
    ),
    (r"^embeddings\.LayerNorm\.", f"{_POSTPROCESSOR}.LayerNorm."),
    (r"^encoder\.layer\.", "bert_encoder.layers."),
    (
        r"\.self\.relative_positions\.weight$",
        ".attention._generate_relative_positions_embeddings.embeddings_table",
    ),
    (r"\.self\.(query|key|value)\.", r".attention.\1_layer."),
    (r"\.intermediate\.dense\.", ".intermediate."),
    (r"^pooler\.", ""),
    (r"LayerNorm\.weight$", "layernorm.gamma"),
    (r"LayerNorm\.bias$", "layernorm.beta"),
)
"""Patterns of canonical encoder names and what the official programs call them, in order."""

_OLDER = (
    (r"\.token_type_embedding\.embedding_table$", ".embedding_table"),
    (r"\.full_position_embedding\.embedding_table$", ".full_position_embeddings"),
    (r"\.embeddings_table$", ".embeddings_for_position"),
)
"""The same for what the older programs call differently."""

_HEADS = {
    "classifier.weight": "dense_1.weight",
    "classifier.bias": "dense_1.bias",
    "cls.predictions.transform.dense.weight": "cls1.dense.weight",
    "cls.predictions.transform.dense.bias": "cls1.dense.bias",
    "cls.predictions.transform.LayerNorm.weight": "cls1.layernorm.gamma",
    "cls.predictions.transform.LayerNorm.bias": "cls1.layernorm.beta",
    "cls.predictions.bias": "cls1.output_bias",
    "cls.seq_relationship.weight": "cls2.dense.weight",
    "cls.seq_relationship.bias": "cls2.dense.bias",
}
"""MindSpore's name of every head parameter by canonical name."""

TIED = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
"""Names under which Hugging Face may save a parameter a second time."""

_MEANINGS = {
    **{name: name for name in (*_HEADS, *TIED)},
    **{name: canonical for canonical, name in _HEADS.items()},
    "cls.predictions.transform.LayerNorm.gamma": "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.beta": "cls.predictions.transform.LayerNorm.bias",
}
_HEAD = re.compile("(?:^|\\.)(" + "|".join(map(re.escape, _MEANINGS)) + ")$")


def canonical_names(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the file's name of every parameter by canonical name, heads included.

    Args:
        names: The names in a checkpoint of any family.

    Returns:
        Name in the file by canonical name, and the names of what belongs to no network.

    Raises:
        ValueError: No network or more than one is in the file, or two names mean the same.
    """
    found = translate(names)
    canonical, left = dict(found.canonical), []
    for name in found.dropped:
        head = None if TRAINING_STATE.search(name) else _HEAD.search(name)
        if head is None:
            left.append(name)
            continue
        meaning = _MEANINGS[head[1]]
        if meaning in canonical:
            raise ValueError(f"{canonical[meaning]} and {name} are both {meaning}")
        canonical[meaning] = name
    return canonical, tuple(left)


def names_in(family: Family, names: Iterable[str]) -> dict[str, str]:
    """Return the family's name of every parameter by canonical name.

    Args:
        family: The family to write.
        names: Canonical names of a whole network.

    Raises:
        ValueError: The family has no name for one of them.
    """
    names = list(names)
    if family == "huggingface":
        heads = any(_is_head(name) for name in names)
        return {n: n if _is_head(n) or not heads else f"bert.{n}" for n in names}
    return {name: _mindspore(family, name) for name in names}


def _mindspore(family: Family, name: str) -> str:
    if _is_head(name):
        if family == "mindspore-student" or name not in _HEADS:
            raise ValueError(f"{family} has no name for {name}")
        return f"bert.{_HEADS[name]}"
    rules = (*_MINDSPORE, *_OLDER) if family == "mindspore-older" else _MINDSPORE
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    if family == "mindspore-student":
        return "bert." + re.sub("^bert_", "tinybert_", name)
    return f"bert.bert.{name}"


def _is_head(name: str) -> bool:
    return name.startswith((CLASSIFIER, PRETRAINING))


def pretraining_shapes(
    names: Iterable[str], vocab_size: int, hidden_size: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the pretraining heads whose parameters are among `names`.

    A head is whole or absent: one of its names asks for all of them.

    Args:
        names: Canonical names.
        vocab_size: V.
        hidden_size: H.
    """
    names = list(names)
    shapes: dict[str, tuple[int, ...]] = {}
    transform = "cls.predictions.transform"
    if any(name.startswith("cls.predictions.") for name in names):
        shapes |= {
            f"{transform}.dense.weight": (hidden_size, hidden_size),
            f"{transform}.dense.bias": (hidden_size,),
            f"{transform}.LayerNorm.weight": (hidden_size,),
            f"{transform}.LayerNorm.bias": (hidden_size,),
            "cls.predictions.bias": (vocab_size,),
        }
    if any(name.startswith("cls.seq_relationship.") for name in names):
        shapes |= {
            "cls.seq_relationship.weight": (2, hidden_size),
            "cls.seq_relationship.bias": (2,),
        }
    return shapes
