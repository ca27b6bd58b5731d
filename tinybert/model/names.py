"""Parameter names of the known families of checkpoints, and their canonical names.

Canonical names are those of Hugging Face's BertModel. Names alone tell the family and the text
in front of them, by the word embedding that every family has once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_HUGGING_FACE_WORDS = "embeddings.word_embeddings.weight"
_MINDSPORE_WORDS = re.compile(r"(?:tiny)?bert_embedding_lookup\.embedding_table$")

TRAINING_STATE = re.compile(
    r"^(?:adam_[mv]|moments?[12]?|accu_grads|accumulation|lamb_[mv])\."
    r"|^(?:loss_scale|scale_sense|scale_window|clean_steps|global_step|optimizer_step|step_num"
    r"|epoch_num|learning_rate|beta[12]_power|current_iterator_step|last_overflow_iterator_step)$"
)
"""What checkpoints hold besides networks: optimizer slots, counters, loss scale."""

_OTHER_PARTS = re.compile(
    r"(?:^|\.)(?:cls|cls[12]|classifier|qa_outputs|dense_1|fit_dense)\."
    r"|(?:^|\.)embeddings\.(?:position_ids|token_type_ids)$"
)
"""Heads, the distillation's projection, and buffers."""

_PARTS = (
    (re.compile(r"(?:^|.*\.)(?:classifier|dense_1)\.(weight|bias)$"), r"classifier.\1"),
    (re.compile(r"(?:^|.*\.)(fit_dense\..+)$"), r"\1"),
)
"""Of these other parts, the ones that a task or a distillation may use."""

_MINDSPORE = (
    (r"(?:tiny)?bert_embedding_lookup\.embedding_table", _HUGGING_FACE_WORDS),
    (
        r"(?:tiny)?bert_embedding_postprocessor\.(?:token_type_embedding\.)?embedding_table",
        "embeddings.token_type_embeddings.weight",
    ),
    (
        r"(?:tiny)?bert_embedding_postprocessor"
        r"\.full_position_embedding(?:s|\.embedding_table)",
        "embeddings.position_embeddings.weight",
    ),
    (r"(?:tiny)?bert_embedding_postprocessor\.layernorm\.", "embeddings.LayerNorm."),
    (r"(?:tiny)?bert_encoder\.layers\.(\d+)\.", r"encoder.layer.\1."),
    (r"\.attention\.attention\.(query|key|value)_layer\.", r".attention.self.\1."),
    (
        r"\.attention\.attention\.(?:.*\.)?embeddings_(?:for_position|table)$",
        ".attention.self.relative_positions.weight",
    ),
    (r"\.intermediate\.(weight|bias)$", r".intermediate.dense.\1"),
    (r"\.output\.layernorm\.", ".output.LayerNorm."),
    (r"^dense\.", "pooler.dense."),
)
"""Patterns of the MindSpore family's names and what they become, applied in order."""

_NORM = (
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
)


@dataclass(frozen=True)
class Names:
    """What the names of a checkpoint mean.

    Attributes:
        canonical: Name in the file by canonical name.
        dropped: Names of parts that are no encoder's: heads, buffers, optimizer slots.
        parts: Of these, a task's head, `classifier.*`, and the distillation's projection,
            `fit_dense.*`, by canonical name.
    """

    canonical: dict[str, str]
    dropped: tuple[str, ...]
    parts: dict[str, str]


def translate(names: Iterable[str]) -> Names:
    """Return the canonical names of a checkpoint's parameters.

    A name that no family knows stays as it is, for the comparison with the network to refuse.

    Raises:
        ValueError: No network or more than one is in the file, or two names mean the same.
    """
    weights: list[str] = []
    dropped: list[str] = []
    for name in names:
        known = TRAINING_STATE.search(name) or _OTHER_PARTS.search(name)
        (dropped if known else weights).append(name)
    anchors = [n for n in weights if n.endswith(_HUGGING_FACE_WORDS) or _MINDSPORE_WORDS.search(n)]
    if not anchors:
        raise ValueError("no word embeddings of a known family of names")
    if len(anchors) > 1:
        raise ValueError("word embeddings of several networks: " + ", ".join(anchors))
    mindspore = _MINDSPORE_WORDS.search(anchors[0])
    prefix = anchors[0][: mindspore.start() if mindspore else -len(_HUGGING_FACE_WORDS)]
    rules = (*_MINDSPORE, *_NORM) if mindspore else _NORM
    canonical: dict[str, str] = {}
    for name in weights:
        meaning = _apply(rules, name.removeprefix(prefix))
        if meaning in canonical:
            raise ValueError(f"{canonical[meaning]} and {name} are both {meaning}")
        canonical[meaning] = name
    return Names(canonical, tuple(dropped), _parts(dropped))


def _parts(names: Iterable[str]) -> dict[str, str]:
    """Return head and projection by canonical name."""
    parts: dict[str, str] = {}
    for name in names:
        for pattern, meaning in _PARTS:
            if pattern.match(name) and not TRAINING_STATE.search(name):
                canonical = pattern.sub(meaning, name)
                if canonical in parts:
                    raise ValueError(f"{parts[canonical]} and {name} are both {canonical}")
                parts[canonical] = name
    return parts


def _apply(rules: Iterable[tuple[str, str]], name: str) -> str:
    """Return the name with every rule applied."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
