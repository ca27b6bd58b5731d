"""The sections `effective` and `environment`: what was built, and what it ran on."""

from dataclasses import dataclass, field, fields, replace
from typing import Annotated

from tinybert.manifest.leaf import (
    DERIVED,
    DERIVED_NOTE,
    ENVIRONMENT,
    ENVIRONMENT_NOTE,
    ENVIRONMENT_SET,
    NO_FACTS,
    NoFacts,
    Section,
)


@dataclass(frozen=True, kw_only=True)
class BuiltTopology(Section):
    """The processes that compute together."""

    device: Annotated[str, DERIVED]
    """Device that the framework computes on."""
    processes: Annotated[int, DERIVED]
    """Number of processes that the framework computes on."""


@dataclass(frozen=True, kw_only=True)
class RuntimeFacts(Section):
    """How what was built is executed."""

    mode: Annotated[str, DERIVED]
    """The framework's mode of execution."""
    enable_data_sink: Annotated[bool, DERIVED]
    """Whether one call of the device does several steps."""
    micro_batches: Annotated[int | None, DERIVED] = None
    """Parts of a global batch that are computed apart; null: one a process."""


@dataclass(frozen=True, kw_only=True)
class TrainingRuntimeFacts(RuntimeFacts):
    """How the steps of a training are executed."""

    data_sink_steps: Annotated[int, DERIVED]
    """Steps of a call of the device."""
    dropout_masks: Annotated[str, DERIVED]
    """`host` or `graph`: where dropout masks are made."""


@dataclass(frozen=True, kw_only=True)
class OptimizerFacts(Section):
    """The update rule that was built."""

    optimizer: Annotated[str, DERIVED]
    """Its class."""
    betas: Annotated[list[float], DERIVED]
    """Decay rates of its moments."""
    eps: Annotated[float, DERIVED]
    """What is added to the denominator of an update."""
    clip_norm: Annotated[float | None, DERIVED]
    """Norm that gradients are clipped to; null: none is clipped."""
    clip_by: Annotated[str, DERIVED] = "norm"
    """`norm`: each tensor's gradient is clipped on its own; `global_norm`: all by one factor."""
    bias_correction: Annotated[bool, DERIVED] = False
    """Whether an update divides the moments by 1 - beta^t."""
    decay_groups: Annotated[dict[str, list[str]], DERIVED]
    """Names of the parameters by their weight decay."""


@dataclass(frozen=True, kw_only=True)
class LossScaleFacts(Section):
    """The dynamic loss scale that was built."""

    loss_scale_value: Annotated[float, DERIVED]
    """The loss scale of the first step."""
    scale_factor: Annotated[float, DERIVED]
    """What it is multiplied or divided by."""
    scale_window: Annotated[int, DERIVED]
    """Steps without overflow after which it grows."""


@dataclass(frozen=True, kw_only=True)
class PackingFacts(Section):
    """The shapes of packed batches."""

    block_length: Annotated[int, DERIVED]
    """Positions of a block."""
    block_counts: Annotated[list[int], DERIVED]
    """Numbers of blocks of a part of a batch, each of which is compiled."""
    fill: Annotated[float, DERIVED]
    """Share of the positions that hold a token."""


@dataclass(frozen=True, kw_only=True)
class TeacherCacheFacts(Section):
    """The teacher's outputs, where the recipe lets them be kept."""

    digest: Annotated[str | None, DERIVED]
    """SHA-256 of what the training reads; null: the graph has the teacher."""
    unused: Annotated[str | None, DERIVED] = None
    """Why the graph has the teacher all the same."""
    bytes: Annotated[int, DERIVED]
    """Size of the outputs for all rows."""
    limit_bytes: Annotated[int, DERIVED]
    """Largest size that the recipe allows."""
    matrix_products: Annotated[dict[str, int], DERIVED] = field(default_factory=dict)
    """How many matrix products of the graph that computed them have inputs of each type."""


@dataclass(frozen=True, kw_only=True)
class TrainingFacts(Section):
    """What one training, or the evaluation, really uses, read back from it."""

    total_steps: Annotated[int | None, DERIVED] = None
    """Length of the learning-rate table, in steps."""
    warmup_steps: Annotated[int | None, DERIVED] = None
    """Steps of warmup."""
    decay_start: Annotated[int, DERIVED] = 0
    """Step from which the decay of the learning rate counts."""
    global_batch_size: Annotated[int | None, DERIVED] = None
    """Rows a step over all processes."""
    packing: PackingFacts | NoFacts = NO_FACTS
    """The blocks that rows are packed in, where they are."""
    teacher_cache: TeacherCacheFacts | NoFacts = NO_FACTS
    """The teacher's outputs, where the recipe lets them be kept."""
    optimizer: OptimizerFacts | NoFacts = NO_FACTS
    """The optimizer's settings and its decay groups."""
    learning_rates: Annotated[dict[str, float], DERIVED] = field(default_factory=dict)
    """The learning rate of sampled updates."""
    loss_scale: LossScaleFacts | NoFacts = NO_FACTS
    """The loss scale's settings."""
    matrix_products: Annotated[dict[str, dict[str, int]], DERIVED] = field(default_factory=dict)
    """How many matrix products have inputs of each element type, by network."""
    num_attention_heads: Annotated[dict[str, int], DERIVED] = field(default_factory=dict)
    """Attention heads in a layer of each network."""
    padding_idx: Annotated[dict[str, int], DERIVED] = field(default_factory=dict)
    """Token id whose word embedding has no gradient, by network."""
    parameters: Annotated[dict[str, int], DERIVED] = field(default_factory=dict)
    """Scalars of each network."""
    initial_weights: Annotated[dict[str, str], DERIVED] = field(default_factory=dict)
    """Tensor digest of each network before the first step."""
    layers_from_teacher: Annotated[list[int], DERIVED] = field(default_factory=list)
    """Layers of the teacher, counted from 1, that have the weights of the student's layers before
    the first step; empty unless all of them are copies."""
    masks: Annotated[dict[str, str] | None, DERIVED] = None
    """SHA-256 of sampled dropout masks; empty without dropout, null where none were sampled."""
    graph_digest: Annotated[str | None, DERIVED] = None
    """SHA-256 of the compiled graph, with micro-batches of a part's, without pointers and debug
    names."""


@dataclass(frozen=True, kw_only=True)
class Effective(TrainingFacts):
    """What the built graph really uses, read back from it."""

    rows: Annotated[dict[str, int], DERIVED] = field(default_factory=dict)
    """Rows of each set of records."""
    topology: BuiltTopology
    """Device and number of processes that really run."""
    runtime: TrainingRuntimeFacts | RuntimeFacts
    """Data sink, mode of execution and the like, as they really are."""
    phases: dict[str, TrainingFacts] = field(default_factory=dict)
    """Of a run of phases, what is above of a single training, for each phase by its name."""
    deviations: Annotated[list[str], DERIVED_NOTE] = field(default_factory=list)
    """Where the run differs from its recipe because the user asked for it by name."""

    def trainings(self) -> list[TrainingFacts]:
        """Return the facts of each training of the run, or of its evaluation."""
        return list(self.phases.values()) or [self]

    def with_training(self, facts: TrainingFacts, phase: str | None) -> "Effective":
        """Return these facts with those of a training, or of a run's phase, in their place."""
        if phase is not None:
            return replace(self, phases={**self.phases, phase: facts})
        return replace(self, **{fact.name: getattr(facts, fact.name) for fact in fields(facts)})


@dataclass(frozen=True, kw_only=True)
class Framework(Section):
    """The installed MindSpore."""

    version: Annotated[str | None, ENVIRONMENT]
    """Its version; null where it is not installed."""
    commit: Annotated[str | None, ENVIRONMENT]
    """The commit it was built from."""


@dataclass(frozen=True, kw_only=True)
class Processor(Section):
    """The processor."""

    model: Annotated[str, ENVIRONMENT]
    """Its name."""
    flags: Annotated[list[str], ENVIRONMENT_SET]
    """Those of its instruction sets that change how sums are rounded."""


@dataclass(frozen=True, kw_only=True)
class ArithmeticFacts(Section):
    """How numbers are rounded."""

    form: Annotated[str, ENVIRONMENT]
    """`portable`: equal bits on every x86-64 processor with AVX2 and FMA; `native`: the
    processor's fastest code."""
    instruction_set: Annotated[str, ENVIRONMENT]
    """The instruction set of the products of matrices, as oneDNN reports it."""


@dataclass(frozen=True, kw_only=True)
class ThreadFacts(Section):
    """How much runs at the same time."""

    operators: Annotated[int, ENVIRONMENT]
    """Threads of an operator, and of the update that a CPU makes."""
    processors: Annotated[int, ENVIRONMENT]
    """Processors of the machine."""


@dataclass(frozen=True, kw_only=True)
class TopologyFacts(Section):
    """The machines of the run."""

    device: Annotated[str, ENVIRONMENT]
    """`CPU` or `Ascend`."""
    hosts: Annotated[int, ENVIRONMENT]
    """Number of machines."""
    processes: Annotated[int, ENVIRONMENT]
    """Number of processes on all of them."""


@dataclass(frozen=True, kw_only=True)
class Environment(Section):
    """What the run ran on."""

    bits_digest: Annotated[str | None, ENVIRONMENT_NOTE] = None
    """SHA-256 of those facts below that results depend on: equal ones promise equal bits. With
    portable arithmetic the processor and its threads are not among them."""
    arithmetic: ArithmeticFacts | NoFacts = NO_FACTS
    """How numbers are rounded; empty on other devices than a CPU."""

    python: Annotated[str, ENVIRONMENT]
    """Implementation and version."""
    platform: Annotated[str, ENVIRONMENT]
    """Operating system, machine, C library."""
    mindspore: Framework
    """The framework."""
    ascend: Annotated[dict[str, str], ENVIRONMENT] = field(default_factory=dict)
    """Versions of CANN and driver; empty where there are none."""
    cpu: Processor
    """The processor."""
    threads: ThreadFacts
    """Threads of the framework's operators, and processors there are."""
    distributions: Annotated[dict[str, str], ENVIRONMENT]
    """Version of every installed Python distribution."""
    variables: Annotated[dict[str, str], ENVIRONMENT] = field(default_factory=dict)
    """Environment variables that can change results, of those that are set."""
    topology: TopologyFacts
    """Device, hosts and processes."""
    determinism: Annotated[dict[str, bool | str], ENVIRONMENT]
    """The framework's switches for determinism, by the framework's names."""
