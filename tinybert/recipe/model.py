"""The recipe's tables and keys: names, types, units and ranges of single values.

One class a TOML table, one field a key; a field without default must be written in the recipe.
Rules between fields are in `rules.py`. The seed project's option names are kept.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]
Path = Annotated[str, Field(min_length=1)]
Activation = Literal["gelu_tanh", "gelu", "relu"]
Precision = Literal["float32", "float16"]


class Table(BaseModel):
    """A TOML table: strict types, no unknown keys, never mutated."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ManifestLink(Table):
    """The best checkpoint of the run that a manifest describes."""

    manifest: Path


class RecipeLink(Table):
    """The best checkpoint of the finished run of another recipe, as that recipe reads now."""

    recipe: Path


Source = Path | ManifestLink | RecipeLink


class NetworkKeys(Table):
    """What describes a network and is usually shared.

    Every key is written once: in `[network]`, or in each of `[teacher]` and `[student]`.
    """

    vocab_size: PositiveInt | None = None
    """Number of token ids."""
    num_attention_heads: PositiveInt | None = None
    """Attention heads in every layer; divides `hidden_size`."""
    hidden_act: Activation | None = None
    """Activation of the feed-forward part: tanh form, erf form, or ReLU."""
    layer_norm_eps: PositiveFloat | None = None
    """Added to the variance in every layer norm: 1e-12 in Hugging Face BERT, 1e-7 in the seed."""
    max_position_embeddings: PositiveInt | None = None
    """Rows of the position embedding table; at least `seq_length`."""
    type_vocab_size: PositiveInt | None = None
    """Number of segment ids."""
    initializer_range: PositiveFloat | None = None
    """Standard deviation of the truncated normal that seeded weights come from."""
    use_relative_positions: bool | None = None
    """Learned relative positions in the attention, instead of the position embedding."""
    enable_fused_layernorm: bool | None = None
    """The device's fused layer norm where it has one; the same arithmetic elsewhere."""
    dtype: Precision | None = None
    """Type of the parameters."""
    compute_type: Precision | None = None
    """Type of the matrix products' inputs."""


class Network(NetworkKeys):
    """`[network]`: what teacher and student share."""


class Model(NetworkKeys):
    """Sizes of one network."""

    hidden_size: PositiveInt
    """Width of the hidden states."""
    num_hidden_layers: PositiveInt
    """Number of transformer layers."""
    intermediate_size: PositiveInt
    """Width of the feed-forward part."""
    init: Literal["seeded"] | None = None
    """`seeded`: initial weights from `seed`, instead of a checkpoint."""


class DistillTeacher(Model):
    """`[teacher]` of a distillation: frozen, without dropout."""

    load_teacher_ckpt_path: Source | None = None
    """Hugging Face safetensors, MindSpore .ckpt, or a link to a run."""
    hidden_dropout_prob: Annotated[float, Field(ge=0, le=0)] = 0.0
    """May be written, as 0: a teacher has no dropout while distilling."""
    attention_probs_dropout_prob: Annotated[float, Field(ge=0, le=0)] = 0.0
    """May be written, as 0: a teacher has no dropout while distilling."""


class TaskTeacher(DistillTeacher):
    """`[teacher]` of a task distillation."""

    head: Literal["linear", "relu_linear"]
    """Between pooled output and logits: a linear map, or ReLU and a linear map (the seed's)."""


class Trained(Model):
    """A network that is trained, with its dropout."""

    hidden_dropout_prob: DropoutRate
    """Dropout after the embeddings and after each of a layer's two output projections."""
    attention_probs_dropout_prob: DropoutRate
    """Dropout of the attention probabilities."""


class DistillStudent(Trained):
    """`[student]` of a general distillation."""

    load_student_ckpt_path: Source | None = None
    """Student to start from: Hugging Face safetensors, MindSpore .ckpt, or a link to a run."""


class TaskStudent(DistillStudent):
    """`[student]` of a task distillation."""

    head: Literal["linear", "relu_linear"]
    """Between pooled output and logits: a linear map, or ReLU and a linear map (the seed's)."""
    classifier_dropout_prob: DropoutRate
    """Dropout before the head."""


class TaskModelTeacher(Trained):
    """`[teacher]` where it is the network that is fine-tuned or evaluated."""

    load_teacher_ckpt_path: Source | None = None
    """Hugging Face safetensors, MindSpore .ckpt, or a link to a run."""
    head: Literal["linear", "relu_linear"]
    """Between pooled output and logits: a linear map, or ReLU and a linear map (the seed's)."""
    classifier_dropout_prob: DropoutRate
    """Dropout before the head."""


class Batches(Table):
    """How rows become batches; `batch_size` or `global_batch_size`, exactly one."""

    batch_size: PositiveInt | None = None
    """Rows a device and step."""
    global_batch_size: PositiveInt | None = None
    """Rows a step over all devices; a multiple of the number of devices."""


class Records(Batches):
    """What every `[data]` says about its record files."""

    dataset_type: Literal["tfrecord", "mindrecord"]
    """Format of the record files."""
    schema_dir: Path | None = None
    """The TFRecord schema, a JSON file with `columns` and optionally `numRows`."""
    seq_length: Annotated[int, Field(ge=3)]
    """Tokens a row, as in the record files."""
    input_mask_from_dataset: bool
    """false: every position counts as a token."""
    token_type_ids_from_dataset: bool
    """false: every segment id is 0."""


class PretrainData(Records):
    """`[data]` of a general distillation."""

    data_dir: Path
    """A record file, a directory of them, or a glob; files are taken in sorted order."""
    eval_data_dir: Path | None = None
    """Held-out records, whose loss parts are final metrics of the run."""
    do_shuffle: bool
    """A new order every epoch, a function of `seed`; false: the order of the files."""
    drop_remainder: bool
    """Leave out the rows that do not fill an epoch's last batch."""


class TaskData(Records):
    """`[data]` of a fine-tuning or a task distillation."""

    train_data_dir: Path
    """Training records: a file, a directory, or a glob; files are taken in sorted order."""
    eval_data_dir: Path
    """Records of the dev set, every row of which counts."""
    do_shuffle: bool
    """A new order every epoch, a function of `seed`; false: the order of the files."""
    drop_remainder: bool
    """Leave out the training rows that do not fill an epoch's last batch."""


class EvaluateData(Records):
    """`[data]` of an evaluation."""

    eval_data_dir: Path
    """Records to evaluate on: a file, a directory, or a glob."""
    drop_remainder: bool
    """Leave out the rows that do not fill the last batch, as the seed's evaluation does."""


class Task(Table):
    """`[task]`: what the head predicts and how that is measured."""

    task_type: Literal["classification", "regression", "ner"]
    """One label a row, one number a row, or one label a token."""
    task_name: Annotated[str, Field(min_length=1)]
    """Name of the task, for people."""
    num_labels: PositiveInt
    """Width of the head; 1 for a regression."""
    assessment_method: Literal[
        "accuracy", "bf1", "mf1", "matthews", "pearson", "spearman", "entity_f1"
    ]
    """Metric that chooses the best checkpoint: bf1 is binary F1, mf1 is F1 averaged over labels."""


class LossWeights(Table):
    """Factors of the loss parts."""

    attention: NonNegativeFloat
    hidden: NonNegativeFloat


class Distill(Table):
    """`[distill]`, `[phase1.distill]`: the losses between the layers of the two networks."""

    layer_map: (
        Literal["uniform", "top", "bottom"]
        | Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]
    )
    """Teacher layer, counted from 1, of each student layer; `uniform` is m * L_T / L_S."""
    weights: LossWeights
    """Factors of attention and hidden loss; 1 and 1 in the paper."""
    padding: Literal["include", "ignore"]
    """Whether the means run over padding too, as the published losses do."""
    fit_dense: Literal["shared", "per_layer"]
    """One projection from student to teacher width, or one a layer."""


class SoftDistill(Table):
    """`[phase2.distill]`: the loss between the logits of the two networks."""

    temperature: PositiveFloat
    """Divides both logits; 1 in the paper."""
    hard_label_weight: Ratio
    """Share of the loss against the labels; 0 in the paper."""


class Schedule(Table):
    """`[optimizer.schedule]`: linear warmup, then a polynomial; exactly one warmup key."""

    learning_rate: PositiveFloat
    """Peak of the schedule."""
    end_learning_rate: NonNegativeFloat
    """Value at the last step."""
    power: PositiveFloat
    """Exponent of the decay; 1 is linear."""
    warmup_steps: Count | None = None
    """Steps of warmup."""
    warmup_ratio: Ratio | None = None
    """Warmup as a share of all steps."""
    warmup_epoch_ratio: Ratio | None = None
    """Warmup as a share of one epoch's steps, as in the seed's phase 1."""


class Optimizer(Table):
    """`[optimizer]`: Adam with decoupled weight decay and without bias correction."""

    optimizer: Literal["AdamWeightDecay"]
    weight_decay: NonNegativeFloat
    eps: PositiveFloat
    """Added to the root of the second moment."""
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(strict=False),
    ]
    """Decay rates of the first and the second moment."""
    clip_norm: PositiveFloat
    """Largest L2 norm of each tensor's gradient."""
    no_decay: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]
    """A parameter whose lower-case name contains one of these does not decay."""
    schedule: Schedule


class LossScale(Table):
    """`[loss_scale]`: dynamic loss scale."""

    loss_scale_value: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Initial factor of the loss."""
    scale_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    """Divides the scale after an overflow, multiplies it after `scale_window` clean steps."""
    scale_window: PositiveInt
    """Clean steps after which the scale grows."""


class Training(Table):
    """`[training]`: length of the run; exactly one key."""

    epoch_size: PositiveInt | None = None
    """Passes over the training rows."""
    train_steps: PositiveInt | None = None
    """Batches, whether or not their update overflowed."""


class Topology(Table):
    """`[topology]`: what the run computes on."""

    device: Literal["Ascend", "CPU"]
    hosts: PositiveInt
    devices_per_host: PositiveInt
    """Processes a host, one a device."""
    device_ids: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] | None = None
    """The devices to use on each host; absent: 0, 1, ..."""
    master_address: Annotated[str, Field(min_length=1)] | None = None
    """Address of the first host, for more than one."""
    master_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    timeout_seconds: PositiveInt | None = None
    """How long processes wait for each other."""


class Runtime(Table):
    """`[runtime]`: how the framework executes."""

    enable_data_sink: bool
    """Let the device run `data_sink_steps` steps a call. Ascend only."""
    data_sink_steps: PositiveInt
    """Steps a call with data sink."""
    threads: PositiveInt
    """Threads of the framework's operators in a process."""


class Checkpoints(Table):
    """`[checkpoints]`."""

    save_ckpt_step: PositiveInt
    """Steps between two checkpoints, and between two evaluations where there is a dev set."""
    max_ckpt_num: PositiveInt
    """Checkpoints kept, the newest; the best is kept apart."""


class Bounds(Table):
    """A closed interval; at least one end."""

    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Tolerance(Table):
    """How far an outcome may be from the reference where environments differ."""

    relative: NonNegativeFloat
    """Largest relative difference of a metric or a step's loss."""
    absolute: NonNegativeFloat
    """Largest absolute difference of a metric or a step's loss."""


class Expect(Table):
    """`[expect]`: what must hold at the end, or the run exits with 3."""

    finite_loss: bool | None = None
    """true: no step's loss was infinite or not a number."""
    steps: PositiveInt | None = None
    """Number of steps that ran."""
    metrics: dict[str, Bounds] | None = None
    """Bounds of final metrics by name."""
    reference: Path | None = None
    """A manifest: equal outcome on an equal environment, within `tolerance` elsewhere."""
    tolerance: Tolerance | None = None


class Recipe(Table):
    """What the recipes of all stages share."""

    seed: Annotated[int, Field(ge=0, lt=2**53)]
    """Every random choice derives from it."""
    network: Network
    topology: Topology
    runtime: Runtime
    expect: Expect | None = None


class GeneralDistill(Recipe):
    """`stage = "general_distill"`: a student learns a teacher's layers from plain text."""

    stage: Literal["general_distill"]
    teacher: DistillTeacher
    student: DistillStudent
    data: PretrainData
    distill: Distill
    optimizer: Optimizer
    loss_scale: LossScale
    training: Training
    checkpoints: Checkpoints


class Phase1(Batches):
    """`[phase1]`: attention and hidden states on the task's rows."""

    distill: Distill
    optimizer: Optimizer
    loss_scale: LossScale
    training: Training
    checkpoints: Checkpoints


class Phase2(Batches):
    """`[phase2]`: the teacher's logits; starts from phase 1's result where there is one."""

    distill: SoftDistill
    optimizer: Optimizer
    loss_scale: LossScale
    training: Training
    checkpoints: Checkpoints


class PhaseData(TaskData):
    """`[data]` of a task distillation; batch sizes are in the phases, which may differ."""

    batch_size: None = None
    global_batch_size: None = None


class TaskDistill(Recipe):
    """`stage = "task_distill"`: a student learns a fine-tuned teacher's behaviour on a task."""

    stage: Literal["task_distill"]
    teacher: TaskTeacher
    student: TaskStudent
    task: Task
    data: PhaseData
    phase1: Phase1 | None = None
    phase2: Phase2 | None = None


class Finetune(Recipe):
    """`stage = "finetune"`: a network learns a task from labels.

    The network is in `[teacher]` or in `[student]`, exactly one.
    """

    stage: Literal["finetune"]
    teacher: TaskModelTeacher | None = None
    student: TaskStudent | None = None
    task: Task
    data: TaskData
    optimizer: Optimizer
    loss_scale: LossScale
    training: Training
    checkpoints: Checkpoints


class Evaluate(Recipe):
    """`stage = "evaluate"`: metrics of a network on labelled rows.

    The network is in `[teacher]` or in `[student]`, exactly one.
    """

    stage: Literal["evaluate"]
    teacher: TaskTeacher | None = None
    student: TaskStudent | None = None
    task: Task
    data: EvaluateData


STAGES: dict[str, type[Recipe]] = {
    "finetune": Finetune,
    "general_distill": GeneralDistill,
    "task_distill": TaskDistill,
    "evaluate": Evaluate,
}
AnyRecipe = GeneralDistill | TaskDistill | Finetune | Evaluate
