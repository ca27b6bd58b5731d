"""The strict base class of a recipe's tables, and most tables.

Networks: `network_tables.py`; losses of a distillation: `distill_tables.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from tinybert.recipe.task_types import AssessmentMethod, TaskType

PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
SMALLEST, LARGEST = 1.2e-38, 3.4e38
"""What float32 holds, in which a run computes: others would become 0 or infinite there."""
PositiveFloat = Annotated[float, Field(ge=SMALLEST, le=LARGEST, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
DropoutRate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NoDropout = Annotated[float, Field(ge=0, le=0, allow_inf_nan=False)]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
Path = Text


class Table(BaseModel):
    """A TOML table: strict types, no unknown keys, never mutated."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class ManifestLink(Table):
    """The best checkpoint of the run that a manifest describes."""

    manifest: Path
    """Path of the manifest."""


class RecipeLink(Table):
    """The best checkpoint of the finished run of another recipe, as that recipe reads now."""

    recipe: Path
    """Path of the recipe."""


def _source_kind(value: Any) -> str:
    if isinstance(value, dict | RecipeLink):
        return "recipe" if "recipe" in dict(value) else "manifest"
    return "manifest" if isinstance(value, ManifestLink) else "path"


Source = Annotated[
    Annotated[Path, Tag("path")]
    | Annotated[ManifestLink, Tag("manifest")]
    | Annotated[RecipeLink, Tag("recipe")],
    Discriminator(_source_kind),
]


class Batches(Table):
    """How rows become batches; `batch_size` or `global_batch_size`, exactly one."""

    batch_size: PositiveInt | None = Field(default=None, examples=[32])
    """Rows a device and step."""
    global_batch_size: PositiveInt | None = None
    """Rows a step over all devices; a multiple of the number of devices."""


class Records(Table):
    """The keys of every `[data]`: its record files."""

    dataset_type: Literal["tfrecord", "mindrecord"] = Field(examples=["tfrecord"])
    """Format of the record files."""
    schema_dir: Path | None = None
    """The TFRecord schema, a JSON file with `columns` and optionally `numRows`. Required with
    `dataset_type = "tfrecord"`, refused with "mindrecord"."""
    seq_length: Annotated[int, Field(ge=3, lt=2**31)] = Field(examples=[128])
    """Tokens a row, as in the record files."""
    input_mask_from_dataset: bool = Field(examples=[True])
    """false: every position counts as a token."""
    token_type_ids_from_dataset: bool = Field(examples=[True])
    """false: every segment id is 0."""
    drop_remainder: bool
    """Leave out the rows that do not fill an epoch's last batch."""
    packing: Literal["blocks", "none"] | None = Field(default=None, examples=["blocks"])
    """`blocks`: rows lie end to end, so that padding is not computed; absent: `none`.

    Losses that average over padding (`padding = "include"`) have padded rows all the same.
    """
    block_length: PositiveInt | None = Field(default=None, examples=[128])
    """Positions of a block, at least those of the longest row. Required with `packing = "blocks"`,
    refused without."""
    micro_batches: PositiveInt | None = Field(default=None, examples=[8])
    """Gradient accumulation: equal parts that the global batch of every step, given as
    `global_batch_size`, is cut into; a power of two that the number of processes divides. A process
    computes its parts one after the other, and gradients and losses of all parts are added in a
    binary tree before clipping and update, so that a run has the same bits on any number of
    processes. It needs the memory of one part's activations, and of as many gradients as the tree
    is high in a process, plus one. Absent: a process computes its share at once, and sums are
    rounded otherwise on another number of processes."""


def block_length(data: Records) -> int | None:
    """Return the length of the blocks that rows are packed in; None: they are not packed."""
    return data.block_length if data.packing == "blocks" else None


class PretrainData(Records, Batches):
    """`[data]` of a general distillation."""

    data_dir: Path
    """A record file, a directory of them, or a glob; files are taken in sorted order."""
    eval_data_dir: Path | None = None
    """Held-out records, whose loss parts are final metrics of the run. Absent: there are none."""
    eval_schema_dir: Path | None = None
    """The TFRecord schema of `eval_data_dir`; absent: `schema_dir`."""
    do_shuffle: bool = Field(examples=[True])
    """A new order every epoch, a function of `seed`; false: the order of the files."""


class PhaseData(Records):
    """`[data]` of a task distillation, whose phases have their own batch sizes."""

    train_data_dir: Path
    """Training records: a file, a directory, or a glob; files are taken in sorted order."""
    eval_data_dir: Path
    """Records of the dev set, every row of which counts."""
    eval_schema_dir: Path | None = None
    """The TFRecord schema of `eval_data_dir`; absent: `schema_dir`."""
    eval_drop_remainder: bool = False
    """Leave out the dev rows that do not fill the last batch, as published evaluations do."""
    do_shuffle: bool = Field(examples=[True])
    """A new order every epoch, a function of `seed`; false: the order of the files."""


class TaskData(PhaseData, Batches):
    """`[data]` of a fine-tuning."""


class EvaluateData(Records, Batches):
    """`[data]` of an evaluation; MindSpore's drops the last rows (`drop_remainder`)."""

    eval_data_dir: Path
    """Records to evaluate on: a file, a directory, or a glob."""


class Task(Table):
    """`[task]`: what the head predicts and how that is measured."""

    task_type: TaskType = Field(examples=["classification"])
    """One label a row, one number a row, any number of labels a row, one label a token, or an
    answer's place in a context."""
    task_name: Text
    """Name of the task, for people."""
    num_labels: PositiveInt = Field(examples=[2])
    """Width of the head; 1 for a regression; 2, start and end, for question_answering."""
    assessment_method: AssessmentMethod = Field(examples=["accuracy"])
    """Metric that chooses the best checkpoint: bf1 is binary F1, mf1 is F1 averaged over labels,
    micro_f1 is F1 over all labels of all rows together, exact_match the share of rows with exactly
    the right labels, or of questions with the right answer, f1 the mean F1 of answers."""
    max_answer_length: PositiveInt | None = Field(default=None, examples=[30])
    """Most tokens of an answer. Required for question_answering, refused for others."""
    no_answer_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """How far the logits of [CLS] may be above those of the best answer before there is none, as
    in SQuAD 2.0, where it is 0. Absent: every question has an answer. Of question_answering."""
    label_names: dict[Text, Text] | None = None
    """What labels of the records are called by the networks, such as `1 = "positive"`; the ids
    stay. Absent: as in the records."""


class Schedule(Table):
    """`[optimizer.schedule]`: linear warmup, then a polynomial; exactly one warmup key."""

    learning_rate: PositiveFloat = Field(examples=[5e-5])
    """Peak of the schedule."""
    end_learning_rate: NonNegativeFloat = Field(examples=[1e-14])
    """Value at the last step."""
    power: PositiveFloat = Field(examples=[1.0])
    """Exponent of the decay; 1 is linear."""
    decay_from: Literal["start", "warmup_end"] | None = Field(default=None, examples=["start"])
    """Step from which the decay counts. `start`: step 0, so that it is below the peak, at
    (T - w) / T of it, when w of T steps of warmup end, as in BERT's code and MindSpore's.
    `warmup_end`: from the peak over the T - w steps that remain, as in transformers' linear and
    polynomial schedules and in the original TinyBERT's `warmup_linear`. Absent: `start`."""
    warmup_steps: Count | None = None
    """Steps of warmup."""
    warmup_ratio: Ratio | None = Field(default=None, examples=[0.1])
    """Warmup as a share of all steps."""
    warmup_epoch_ratio: Ratio | None = None
    """Warmup as a share of one epoch's steps, as in phase 1 of MindSpore's."""


Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


ClipBy = Literal["norm", "global_norm"]


class Optimizer(Table):
    """`[optimizer]`: Adam with decoupled weight decay."""

    optimizer: Literal["AdamWeightDecay"] = Field(examples=["AdamWeightDecay"])
    """The update rule."""
    weight_decay: NonNegativeFloat = Field(examples=[1e-4])
    """Share of a weight, times the learning rate, that a step takes away."""
    eps: PositiveFloat = Field(examples=[1e-6])
    """Added to the root of the second moment."""
    betas: Annotated[tuple[Beta, Beta], Field(strict=False, examples=[[0.9, 0.999]])]
    """Decay rates of the first and the second moment."""
    clip_norm: PositiveFloat = Field(examples=[1.0])
    """Largest L2 norm of a gradient; of which, see `clip_by`."""
    clip_by: ClipBy | None = Field(default=None, examples=["norm"])
    """What is scaled down to `clip_norm`. `norm`: each tensor's gradient on its own, as in
    MindSpore's example and the original TinyBERT. `global_norm`: all gradients by one factor, so
    that all together have that norm at most, as BERT's code, PyTorch's `clip_grad_norm_` and
    transformers' `max_grad_norm` do. Absent: `norm`."""
    bias_correction: bool | None = Field(default=None, examples=[False])
    """true: divide the moments by 1 - beta^t at the update t = 1, 2, ..., as in Adam's paper and
    PyTorch's AdamW, which transformers trains with. false: leave them as they are, near 0 in the
    first updates, as BERT's code, MindSpore's AdamWeightDecay and the original TinyBERT do.
    Absent: false."""
    no_decay: Annotated[tuple[Text, ...], Field(strict=False, examples=[["layernorm", "bias"]])]
    """A parameter whose lower-case name contains one of these does not decay."""
    schedule: Schedule
    """Learning rate as a function of the step."""


class LossScale(Table):
    """`[loss_scale]`: dynamic loss scale."""

    loss_scale_value: Annotated[float, Field(ge=1, le=LARGEST, allow_inf_nan=False)] = Field(
        examples=[65536]
    )
    """Initial factor of the loss."""
    scale_factor: Annotated[float, Field(gt=1, le=LARGEST, allow_inf_nan=False)] = Field(
        examples=[2]
    )
    """Divides the scale after an overflow, multiplies it after `scale_window` clean steps."""
    scale_window: PositiveInt = Field(examples=[1000])
    """Clean steps after which the scale grows."""


class Training(Table):
    """`[training]`: length of the run; exactly one key."""

    epoch_size: PositiveInt | None = Field(default=None, examples=[3])
    """Passes over the training rows."""
    train_steps: PositiveInt | None = None
    """Batches, whether or not their update overflowed."""


class Topology(Table):
    """`[topology]`: what the run computes on."""

    device: Literal["Ascend", "CPU"] = Field(examples=["Ascend"])
    """Kind of device."""
    hosts: Annotated[int, Field(ge=1, le=4096)] = Field(examples=[1])
    """Number of machines."""
    devices_per_host: Annotated[int, Field(ge=1, le=64)] = Field(examples=[8])
    """Processes a host, one a device."""
    device_ids: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] | None = None
    """The devices to use on each host; absent: 0, 1 and so on."""
    master_address: Text | None = None
    """Address of the first host. Required with several hosts."""
    master_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """TCP port on which the first host listens. Required with several hosts."""
    timeout_seconds: PositiveInt | None = None
    """How long processes wait for each other to start, compute a teacher's outputs, compile,
    evaluate and save; absent: 600."""
    bind_core: bool | None = None
    """true: every process keeps to processor cores of its own. Absent: false."""


def device_count(topology: Topology) -> int:
    """Return the number of processes of the whole run."""
    return topology.hosts * topology.devices_per_host


def global_batch_size(batches: Batches, topology: Topology) -> int:
    """Return the rows of a step over all devices."""
    if batches.global_batch_size is not None:
        return batches.global_batch_size
    assert batches.batch_size is not None
    return batches.batch_size * device_count(topology)


def batch_size(batches: Batches, topology: Topology) -> int:
    """Return the rows of a step on one device."""
    return global_batch_size(batches, topology) // device_count(topology)


class Runtime(Table):
    """`[runtime]`: how the framework executes."""

    enable_data_sink: bool = Field(examples=[True])
    """Let the device run `data_sink_steps` training steps a call."""
    data_sink_steps: PositiveInt = Field(examples=[1])
    """Steps a call with data sink; 1 without. The last call may have fewer."""
    threads: Annotated[int, Field(ge=1, le=1024)]
    """Threads of an operator in a process, and of the update that a CPU makes."""
    arithmetic: Literal["portable", "native"] | None = Field(default=None, examples=["portable"])
    """How a CPU rounds. `portable`: as every x86-64 processor with AVX2 and FMA can, so that all of
    them give equal bits; one without is refused. `native`: as is fastest on the processor, with
    equal bits on equal instruction sets. Absent: native. Where a card computes, nothing depends on
    it."""
    dropout_masks: Literal["host", "graph"] | None = None
    """Where dropout masks are made: ahead by the host, or in the graph by the device; absent: in
    the graph on Ascend, by the host on CPU. It may be absent because the bits are the same."""
    teacher_cache_gib: NonNegativeFloat | None = Field(default=None, examples=[1.0])
    """Disk space, in GiB, that the teacher's outputs may take in each phase of a task distillation:
    they are computed once, kept in `runs/teacher` for every epoch and run, and read from there;
    those that take more are computed in every step. Changes no result beyond rounding. Absent or 0:
    nothing is kept."""


class Checkpoints(Table):
    """`[checkpoints]`."""

    save_ckpt_step: PositiveInt = Field(examples=[10000])
    """Steps between two checkpoints, and between two evaluations where there is a dev set."""
    max_ckpt_num: PositiveInt = Field(examples=[1])
    """Newest checkpoints that are kept; the best is kept in addition."""


class Bounds(Table):
    """A closed interval; at least one end."""

    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Smallest value that is accepted. Absent: any."""
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Largest value that is accepted. Absent: any."""


class Tolerance(Table):
    """How far an outcome may be from the reference where environments differ."""

    relative: NonNegativeFloat
    """Largest relative difference of a metric or a step's loss."""
    absolute: NonNegativeFloat
    """Largest absolute difference of a metric or a step's loss."""


class Expect(Table):
    """`[expect]`: what must hold at the end, or the run exits with 3."""

    finite_loss: bool | None = None
    """true: no step's loss was infinite or not a number. Absent: not checked."""
    steps: PositiveInt | None = None
    """Number of steps that ran. Absent: not checked."""
    metrics: dict[Text, Bounds] | None = None
    """Bounds of final metrics by name. Absent: none."""
    reference: Path | None = None
    """A manifest: equal outcome on an equal environment, within `tolerance` elsewhere. Absent: the
    outcome is compared with none."""
    tolerance: Tolerance | None = None
    """Allowed differences from `reference` on another environment. Absent: none."""
