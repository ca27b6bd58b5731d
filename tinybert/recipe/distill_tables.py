"""`[distill]` and the tables in it: the losses of a distillation."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from tinybert.recipe.tables import NonNegativeFloat, PositiveFloat, PositiveInt, Ratio, Table

AttentionTarget = Literal["scores", "probs"]
VECTOR_RELATIONS = ("query_query", "key_key", "value_value")
"""The relations of queries, of keys and of values, which have `relation_heads`."""


class LossWeights(Table):
    """Factors of the loss parts."""

    attention: NonNegativeFloat = Field(examples=[1.0])
    """Factor of the attention loss; 1 in the paper. Where it is 0 and the networks have different
    numbers of heads, the loss is not computed; where the numbers are equal, it is reported."""
    hidden: NonNegativeFloat = Field(examples=[1.0])
    """Factor of the hidden loss; 1 in the paper."""
    embedding: NonNegativeFloat | None = Field(default=None, examples=[1.0])
    """Factor of the embedding loss (the paper, equation 9), which the hidden loss is then without;
    a projection of its own comes with `fit_dense = "per_layer"`. Absent: the embedding output
    counts in the hidden loss, as one layer more."""
    cosine: NonNegativeFloat | None = Field(default=None, examples=[1.0])
    """Factor of the cosine loss, 1 - cos of the mapped layers' hidden states (DistilBERT), that of
    the student after the projection. Absent: there is none."""


class RelationWeights(Table):
    """Factors of the relation losses; each that is absent is not computed."""

    attention_distribution: NonNegativeFloat | None = Field(default=None, examples=[1.0])
    """Factor of the loss of attention distributions, head by head (MiniLM). Absent: there is
    none."""
    query_query: NonNegativeFloat | None = Field(default=None, examples=[1.0])
    """Factor of the loss of query-query relations (MiniLMv2). Absent: there is none."""
    key_key: NonNegativeFloat | None = Field(default=None, examples=[1.0])
    """Factor of the loss of key-key relations (MiniLMv2). Absent: there is none."""
    value_value: NonNegativeFloat | None = Field(default=None, examples=[1.0])
    """Factor of the loss of value-value relations (MiniLM and MiniLMv2). Absent: there is none."""

    def vectors(self) -> tuple[int, ...]:
        """Return which of queries, keys and values, counted from 0, have relations to learn."""
        named = (getattr(self, name) is not None for name in VECTOR_RELATIONS)
        return tuple(kind for kind, there in enumerate(named) if there)


LOSS_PARTS = (*LossWeights.model_fields, *RelationWeights.model_fields)
"""The losses between layers, in the order in which runs name them: `attention_loss` and so on."""


class Relations(Table):
    """`[distill.relations]`: self-attention relations that the student's last layer learns."""

    teacher_layer: PositiveInt = Field(examples=[12])
    """The teacher's layer, counted from 1, whose relations are learned: the last one in MiniLM, one
    before it for large teachers in MiniLMv2."""
    relation_heads: PositiveInt | None = Field(default=None, examples=[48])
    """Equal parts of queries, keys and values whose relations are compared one by one; divides both
    hidden sizes. Required for any but `attention_distribution`, which has the heads of the
    attention. The networks may differ in heads and width."""
    weights: RelationWeights
    """Factors of the relation losses."""


LayerMap = Annotated[
    Annotated[Literal["uniform", "top", "bottom"], Tag("name")]
    | Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1), Tag("list")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "list"),
]


class Distill(Table):
    """`[distill]`, `[phase1.distill]`: the losses between the layers of the two networks."""

    layer_map: LayerMap = Field(examples=["uniform"])
    """Teacher layer, counted from 1, of each student layer; `uniform` is m * L_T / L_S."""
    padding: Literal["include", "ignore"] = Field(examples=["include"])
    """Whether the means run over padding too, as the published losses do."""
    fit_dense: Literal["shared", "per_layer", "none"] = Field(examples=["shared"])
    """One projection from student to teacher width, one a layer, or none: hidden states of equal
    widths are compared as they are."""
    attention_target: AttentionTarget | None = Field(default=None, examples=["scores"])
    """What the attention loss compares: `scores`, those before softmax, as TinyBERT does, or
    `probs`, those after it. Absent: `scores`."""
    weights: LossWeights
    """Factors of the losses of mapped layers."""
    relations: Relations | None = None
    """Self-attention relations of one teacher layer and the student's last. Absent: none."""


class SoftDistill(Table):
    """`[phase2.distill]`: the loss between the logits of the two networks."""

    temperature: PositiveFloat = Field(examples=[1.0])
    """Divides both logits; 1 in the paper."""
    hard_label_weight: Ratio = Field(examples=[0.0])
    """Share of the loss against the labels; 0 in the paper, 1 for its regression (STS-B)."""
    temperature_squared: bool | None = Field(default=None, examples=[False])
    """Multiply the loss between logits by the temperature's square; absent: false."""
