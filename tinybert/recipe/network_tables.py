"""`[network]`, `[teacher]` and `[student]`: the keys that describe networks."""

from typing import Literal

from pydantic import Field

from tinybert.recipe.tables import (
    Count,
    DropoutRate,
    NoDropout,
    PositiveFloat,
    PositiveInt,
    Source,
    Table,
)

Activation = Literal["gelu_tanh", "gelu", "relu"]
Precision = Literal["float32", "float16"]
Head = Literal["linear", "relu_linear"]
StudentInit = Literal["seeded", "teacher"]


class NetworkKeys(Table):
    """What describes a network and is usually shared.

    Every key is written once: in `[network]`, or in each of `[teacher]` and `[student]`.
    """

    vocab_size: PositiveInt | None = Field(default=None, examples=[30522])
    """Number of token ids."""
    num_attention_heads: PositiveInt | None = Field(default=None, examples=[12])
    """Attention heads in every layer; divides `hidden_size`. Teacher and student may have different
    numbers where the attention loss has weight 0, or where there is none."""
    hidden_act: Activation | None = Field(default=None, examples=["gelu_tanh"])
    """Activation of the feed-forward part: GELU in its tanh form, GELU in its erf form, or ReLU."""
    layer_norm_eps: PositiveFloat | None = Field(default=None, examples=[1e-7])
    """Added to the variance in every layer norm: 1e-12 in Hugging Face BERT, 1e-7 in MindSpore."""
    max_position_embeddings: PositiveInt | None = Field(default=None, examples=[512])
    """Rows of the position embedding table; at least `seq_length`."""
    type_vocab_size: PositiveInt | None = Field(default=None, examples=[2])
    """Number of segment ids."""
    initializer_range: PositiveFloat | None = Field(default=None, examples=[0.02])
    """Standard deviation of the truncated normal that seeded weights come from."""
    use_relative_positions: bool | None = Field(default=None, examples=[False])
    """Learned relative positions in the attention, instead of the position embedding."""
    enable_fused_layernorm: bool | None = Field(default=None, examples=[False])
    """Layer norm in the steps of MindSpore's form on batch norm; false: the framework's own."""
    dtype: Precision | None = Field(default=None, examples=["float32"])
    """Type of the parameters."""
    compute_type: Precision | None = Field(default=None, examples=["float16"])
    """Type of the matrix products' inputs."""


class Network(NetworkKeys):
    """`[network]`: what teacher and student share."""


class Model(NetworkKeys):
    """Sizes of one network."""

    hidden_size: PositiveInt = Field(examples=[768])
    """Width of the hidden states."""
    num_hidden_layers: PositiveInt = Field(examples=[12])
    """Number of transformer layers."""
    intermediate_size: PositiveInt = Field(examples=[3072])
    """Width of the feed-forward part."""
    init: Literal["seeded"] | None = None
    """`seeded`: initial weights from `seed`, instead of a checkpoint."""
    embedding_initializer_range: PositiveFloat | None = Field(default=None, examples=[0.01])
    """Standard deviation of seeded embeddings, 0.01 in MindSpore's; absent: `initializer_range`."""


class Frozen(Model):
    """A network that is not trained, so that nothing is dropped."""

    hidden_dropout_prob: NoDropout = 0.0
    """May be written, as 0: a network that is not trained has no dropout."""
    attention_probs_dropout_prob: NoDropout = 0.0
    """May be written, as 0: a network that is not trained has no dropout."""


class Trained(Model):
    """A network that is trained, with its dropout."""

    hidden_dropout_prob: DropoutRate = Field(examples=[0.1])
    """Dropout after the embeddings and after each of a layer's two output projections."""
    attention_probs_dropout_prob: DropoutRate = Field(examples=[0.1])
    """Dropout of the attention probabilities."""
    padding_idx: Count | None = None
    """Token id, 0 for [PAD], whose word embedding has no gradient, as with PyTorch's `padding_idx`
    in transformers' BERT and in the original TinyBERT; weight decay reaches it, as there. A seeded
    one is drawn like the others; that of transformers begins at 0. Absent: it learns like the
    others, as in BERT's code and MindSpore's, where a loss averages over padding (`padding =
    "include"`); from masked positions no other loss gives it a gradient."""


class DistillTeacher(Frozen):
    """`[teacher]` of a general distillation."""

    load_teacher_ckpt_path: Source | None = None
    """Weights: Hugging Face safetensors, MindSpore .ckpt, or a link to a run."""


class TaskTeacher(DistillTeacher):
    """`[teacher]` of a task distillation, or of an evaluation."""

    head: Head = Field(examples=["relu_linear"])
    """Between pooled output and logits: a linear map, or ReLU and a linear map (MindSpore)."""


class DistillStudent(Trained):
    """`[student]` of a general distillation."""

    init: StudentInit | None = None  # type: ignore[assignment]
    """Where initial weights come from, instead of a checkpoint. `seeded`: from `seed`. `teacher`: a
    copy of the teacher's embeddings, pooler, and the layer that `layer_map` names for each of the
    student's (DistilBERT); the networks then differ in their number of layers alone."""
    load_student_ckpt_path: Source | None = None
    """Weights to start from: Hugging Face safetensors, MindSpore .ckpt, or a link to a run."""


class TaskStudent(DistillStudent):
    """`[student]` of a task distillation, or of a fine-tuning."""

    head: Head = Field(examples=["relu_linear"])
    """Between pooled output and logits: a linear map, or ReLU and a linear map (MindSpore)."""
    classifier_dropout_prob: DropoutRate = Field(examples=[0.1])
    """Dropout before the head."""


class FinetunedTeacher(Trained):
    """`[teacher]` where it is the network that is fine-tuned."""

    load_teacher_ckpt_path: Source | None = None
    """Weights to start from: Hugging Face safetensors, MindSpore .ckpt, or a link to a run."""
    head: Head = Field(examples=["relu_linear"])
    """Between pooled output and logits: a linear map, or ReLU and a linear map (MindSpore)."""
    classifier_dropout_prob: DropoutRate = Field(examples=[0.1])
    """Dropout before the head."""


class EvaluatedStudent(Frozen):
    """`[student]` where it is the network that is evaluated."""

    load_student_ckpt_path: Source | None = None
    """Weights: Hugging Face safetensors, MindSpore .ckpt, or a link to a run."""
    head: Head = Field(examples=["relu_linear"])
    """Between pooled output and logits: a linear map, or ReLU and a linear map (MindSpore)."""
