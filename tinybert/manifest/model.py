"""The manifest's sections, typed. The text below a field explains it, here and in the README."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict

from tinybert.manifest.canonical import digest, parse_number, to_json
from tinybert.manifest.leaf import Leaf

FORMAT_VERSION = 1

INPUT = Leaf("input")
INPUT_NOTE = Leaf("input", "ignored")
DERIVED = Leaf("derived")
DERIVED_NOTE = Leaf("derived", "ignored")
ENVIRONMENT = Leaf("environment")
ENVIRONMENT_SET = Leaf("environment", "set")
OUTPUT = Leaf("output")
OUTPUT_NUMBER = Leaf("output", "tolerance")
VOLATILE = Leaf("volatile", "ignored")

Status = Literal["planned", "running", "finished", "failed", "interrupted"]
OpenTable = dict[str, Any]
"""A table whose keys the manifest does not fix; its values are plain."""


class Section(BaseModel):
    """A table of the manifest."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Number(Section):
    """A float, readable and exact."""

    value: float | str
    """The number, or `float:NaN`, `float:Infinity`, `float:-Infinity`."""
    hex: str
    """Its bits, as Python's `float.hex` writes them."""

    @classmethod
    def of(cls, value: float) -> "Number":
        """Return the number of a Python or NumPy float."""
        return cls(value=to_json(float(value)), hex=float(value).hex())

    def __float__(self) -> float:
        return parse_number(self.value)


class ValueOrigin(Section):
    """Where a resolved value comes from."""

    kind: Annotated[str, INPUT_NOTE]
    """`file`, `default`, `set`, `device` or `derived`."""
    place: Annotated[str, INPUT_NOTE]
    """File and line, or the option of the command line."""


class RecipeFacts(Section):
    """The recipe as it was read."""

    name: Annotated[str, INPUT_NOTE]
    """The file's name without `.toml`."""
    path: Annotated[str, INPUT_NOTE]
    """Where it was read."""
    text: Annotated[str, INPUT_NOTE]
    """The file, whole."""
    text_sha256: Annotated[str, INPUT_NOTE]
    """SHA-256 of the file's bytes."""
    digest: Annotated[str, INPUT_NOTE]
    """SHA-256 over the canonical JSON of `values`: equal for recipes that differ in comments."""
    overrides: Annotated[list[str], INPUT_NOTE]
    """What `--set` and `--device` changed, as written."""
    values: Annotated[OpenTable, INPUT]
    """Every resolved value, in the recipe's tables."""
    origins: dict[str, ValueOrigin]
    """Where each value comes from, by dotted key."""


class Patch(Section):
    """Uncommitted changes of the code."""

    file: Annotated[str | None, INPUT_NOTE]
    """Name of the patch beside the manifest; null if it was too large to keep."""
    sha256: Annotated[str, INPUT_NOTE]
    """SHA-256 of the patch."""
    size: Annotated[int, INPUT_NOTE]
    """Bytes of the patch."""


class Code(Section):
    """The program that ran."""

    digest: Annotated[str, INPUT_NOTE]
    """SHA-256 over the canonical JSON of `files`."""
    files: Annotated[dict[str, str], INPUT]
    """SHA-256 of `runner.py`, of every file of `tinybert/`, and of `requirements.lock`."""
    commit: Annotated[str | None, INPUT_NOTE] = None
    """Git commit; null outside a repository."""
    dirty: Annotated[bool, INPUT_NOTE] = False
    """Whether these files differ from the commit."""
    patch: Patch | None = None
    """What leads from the commit to the tracked files; null where nothing does."""
    untracked: Annotated[dict[str, str], INPUT] = {}
    """SHA-256 of files that were imported from the project and are not in the commit."""


class InputFile(Section):
    """A file that the run read."""

    role: Annotated[str, INPUT]
    """What for: `data`, `eval_data`, `schema`, `vocabulary`, `teacher`, `student`..."""
    path: Annotated[str, INPUT_NOTE]
    """Where; relative to the root if it lies below it."""
    size: Annotated[int, INPUT]
    """Bytes."""
    sha256: Annotated[str, INPUT]
    """SHA-256 of the file's bytes."""
    tensor_digest: Annotated[str | None, INPUT] = None
    """Of a checkpoint: SHA-256 over its tensors, whatever the file format."""
    tensor_table: Annotated[str | None, INPUT_NOTE] = None
    """Of a checkpoint: the file of its tensor table, in the run's folder."""


class Parent(Section):
    """A run whose result this run read."""

    role: Annotated[str, INPUT]
    """What for: `teacher`, `student`..."""
    manifest: Annotated[str, INPUT_NOTE]
    """Its manifest; relative to the root if it lies below it."""
    stage: Annotated[str, INPUT]
    """Its stage."""
    outcome_digest: Annotated[str, INPUT]
    """The digest of its `outcome`."""


class Inputs(Section):
    """What the run was given."""

    stage: Annotated[str, INPUT]
    """`general_distill`, `task_distill`, `finetune` or `evaluate`."""
    recipe: RecipeFacts
    """The recipe."""
    code: Code
    """The program."""
    files: list[InputFile] = []
    """Every data file, vocabulary and checkpoint, in the order they are read in."""
    seeds: Annotated[dict[str, int], INPUT] = {}
    """The seeds that random choices derive from."""
    parents: list[Parent] = []
    """The runs whose results are read."""


class Effective(Section):
    """What the built graph really uses, read back from it."""

    total_steps: Annotated[int | None, DERIVED] = None
    """Length of the learning-rate table, in steps."""
    warmup_steps: Annotated[int | None, DERIVED] = None
    """Steps of warmup."""
    global_batch_size: Annotated[int | None, DERIVED] = None
    """Rows a step over all processes."""
    rows: Annotated[dict[str, int], DERIVED] = {}
    """Rows of each set of records."""
    topology: Annotated[OpenTable, DERIVED] = {}
    """Device and number of processes that really run."""
    runtime: Annotated[OpenTable, DERIVED] = {}
    """Data sink, mode of execution and the like, as they really are."""
    optimizer: Annotated[OpenTable, DERIVED] = {}
    """The optimizer's settings and its decay groups."""
    learning_rates: Annotated[dict[str, float], DERIVED] = {}
    """The learning rate of sampled updates."""
    loss_scale: Annotated[OpenTable, DERIVED] = {}
    """The loss scale's settings."""
    matrix_products: Annotated[OpenTable, DERIVED] = {}
    """How many matrix products have inputs of each element type, by network."""
    parameters: Annotated[dict[str, int], DERIVED] = {}
    """Scalars of each network."""
    initial_weights: Annotated[dict[str, str], DERIVED] = {}
    """Tensor digest of each network before the first step."""
    masks: Annotated[dict[str, str] | None, DERIVED] = None
    """SHA-256 of sampled dropout masks; empty without dropout, null where none were sampled."""
    graph_digest: Annotated[str | None, DERIVED] = None
    """SHA-256 of the compiled graph, without pointers and debug names."""
    phases: Annotated[dict[str, OpenTable], DERIVED] = {}
    """Of a run of phases, what is above of a single training, for each phase by its name."""
    deviations: Annotated[list[str], DERIVED_NOTE] = []
    """Where the run differs from its recipe because the user asked for it by name."""


class Framework(Section):
    """The installed MindSpore."""

    version: Annotated[str | None, ENVIRONMENT]
    """Its version; null where it is not installed."""
    commit: Annotated[str | None, ENVIRONMENT]
    """The commit it was built from."""


class Processor(Section):
    """The processor."""

    model: Annotated[str, ENVIRONMENT]
    """Its name."""
    flags: Annotated[list[str], ENVIRONMENT_SET]
    """Those of its instruction sets that change how sums are rounded."""


class Environment(Section):
    """What the run ran on; equal digests promise equal bits."""

    python: Annotated[str, ENVIRONMENT]
    """Implementation and version."""
    platform: Annotated[str, ENVIRONMENT]
    """Operating system, machine, C library."""
    mindspore: Framework
    """The framework."""
    ascend: Annotated[dict[str, str], ENVIRONMENT] = {}
    """Versions of CANN and driver; empty where there are none."""
    cpu: Processor
    """The processor."""
    threads: Annotated[dict[str, int], ENVIRONMENT] = {}
    """Threads of the framework's operators, and processors there are."""
    distributions: Annotated[dict[str, str], ENVIRONMENT] = {}
    """Version of every installed Python distribution."""
    variables: Annotated[dict[str, str], ENVIRONMENT] = {}
    """Environment variables that can change results, of those that are set."""
    topology: Annotated[OpenTable, ENVIRONMENT] = {}
    """Device, hosts and processes."""
    determinism: Annotated[OpenTable, ENVIRONMENT] = {}
    """The framework's switches for determinism."""


class Failure(Section):
    """Why a run ended early."""

    type: Annotated[str, OUTPUT]
    """Name of the exception."""
    message: Annotated[str, OUTPUT]
    """What it said."""
    rank: Annotated[int | None, OUTPUT] = None
    """The process that failed first, where there were several."""
    step: Annotated[int | None, OUTPUT] = None
    """Steps that it had done."""
    exit_code: Annotated[int | None, OUTPUT] = None
    """How it ended; negative: by that signal; null: it had to be killed."""
    last_lines: Annotated[list[str], OUTPUT] = []
    """The end of its log."""


class Checkpoint(Section):
    """Tensors that the run left."""

    step: Annotated[int, OUTPUT]
    """Steps before it."""
    tensor_digest: Annotated[str, OUTPUT]
    """SHA-256 over its tensors."""
    file: Annotated[str, OUTPUT]
    """The checkpoint, in the run's folder."""
    tensor_table: Annotated[str, OUTPUT]
    """Name, type, shape and SHA-256 of every tensor, in the run's folder."""


class Outcome(Section):
    """What came out; the verdict on two runs compares this section alone."""

    status: Annotated[Status, OUTPUT] = "planned"
    """`planned`, `running`, `finished`, `failed` or `interrupted`."""
    steps: Annotated[int, OUTPUT] = 0
    """Batches trained on: `global_step` at the end."""
    optimizer_steps: Annotated[int, OUTPUT] = 0
    """Updates: an overflow is a step without one."""
    samples: Annotated[int, OUTPUT] = 0
    """Rows trained on, over all processes."""
    overflows: Annotated[int, OUTPUT] = 0
    """Steps whose gradients were not finite."""
    nonfinite_losses: Annotated[int, OUTPUT] = 0
    """Steps whose loss was infinite or not a number."""
    metrics: Annotated[dict[str, Number], OUTPUT_NUMBER] = {}
    """Final metrics."""
    best_step: Annotated[int | None, OUTPUT] = None
    """The step of the best evaluation."""
    best_metrics: Annotated[dict[str, Number], OUTPUT_NUMBER] = {}
    """Metrics of the best evaluation."""
    trace_digest: Annotated[str | None, OUTPUT] = None
    """The last `chain` of the trace; null where nothing was trained."""
    checkpoints: list[Checkpoint] = []
    """The checkpoints kept, oldest first."""
    best_checkpoint: Checkpoint | None = None
    """The checkpoint of the best evaluation."""
    error: Failure | None = None
    """Why it failed."""


class Segment(Section):
    """One process of a run that was resumed, or the only one."""

    started: Annotated[str, VOLATILE]
    """UTC."""
    ended: Annotated[str | None, VOLATILE] = None
    """UTC; null if it was killed."""
    first_step: Annotated[int, VOLATILE] = 0
    """Steps done before it."""
    host: Annotated[str, VOLATILE]
    """Name of the machine."""
    pid: Annotated[int, VOLATILE]
    """Its process id."""
    environment_digest: Annotated[str | None, VOLATILE] = None
    """The digest of the `environment` it ran in."""


class Volatile(Section):
    """What differs from run to run, and what no verdict looks at."""

    run_id: Annotated[str, VOLATILE]
    """Time of the plan in UTC, and six random digits."""
    created: Annotated[str, VOLATILE]
    """Time of the plan, UTC."""
    ended: Annotated[str | None, VOLATILE] = None
    """Time of the last state, UTC."""
    root: Annotated[str, VOLATILE]
    """The directory that relative paths start from."""
    directory: Annotated[str, VOLATILE]
    """The run's folder, below the root: trace, checkpoints, tensor tables, log."""
    command: Annotated[list[str], VOLATILE] = []
    """The command line."""
    segments: list[Segment] = []
    """The processes of the run, in order."""
    modified: Annotated[dict[str, int], VOLATILE] = {}
    """Time of the last change of every input file, in microseconds, when it was hashed."""
    hashing_seconds: Annotated[float | None, VOLATILE] = None
    """Time spent hashing inputs, beside other work."""
    throughput: Annotated[OpenTable, VOLATILE] = {}
    """Samples a second, seconds a step and the like."""
    memory: Annotated[OpenTable, VOLATILE] = {}
    """Bytes at most, by kind."""
    ranks: Annotated[OpenTable, VOLATILE] = {}
    """What the other processes of a distributed run left."""


class Digests(Section):
    """SHA-256 of each section over its canonical JSON (RFC 8785)."""

    inputs: Annotated[str, INPUT_NOTE]
    """Of `inputs`."""
    effective: Annotated[str, DERIVED_NOTE]
    """Of `effective`."""
    environment: Annotated[str, Leaf("environment", "ignored")]
    """Of `environment`."""
    outcome: Annotated[str, OUTPUT]
    """Of `outcome`: equal ones are what the verdict `bitwise` means."""
    volatile: Annotated[str, VOLATILE]
    """Of `volatile`."""


class Manifest(Section):
    """One run."""

    format_version: Annotated[int, VOLATILE]
    """Version of this format."""
    digests: Digests
    """The digests of the sections below."""
    inputs: Inputs
    """What the run was given."""
    effective: Effective | None = None
    """What the built graph really uses; null until it is built."""
    environment: Environment | None = None
    """What the run ran on; null until it starts."""
    outcome: Outcome
    """What came out; the verdict compares this section alone."""
    volatile: Volatile
    """What differs from run to run, and what no verdict looks at."""


SECTIONS: tuple[str, ...] = ("inputs", "effective", "environment", "outcome", "volatile")


def build_manifest(
    *,
    inputs: Mapping[str, Any],
    outcome: Mapping[str, Any],
    volatile: Mapping[str, Any],
    effective: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Manifest:
    """Return the manifest of these sections, with their digests.

    Raises:
        pydantic.ValidationError: A section has an unknown key, lacks one, or has a wrong type.
    """
    sections: dict[str, Section | None] = {
        "inputs": Inputs.model_validate(to_json(inputs)),
        "effective": None if effective is None else Effective.model_validate(to_json(effective)),
        "environment": (
            None if environment is None else Environment.model_validate(to_json(environment))
        ),
        "outcome": Outcome.model_validate(to_json(outcome)),
        "volatile": Volatile.model_validate(to_json(volatile)),
    }
    digests = {name: section_digest(section) for name, section in sections.items()}
    return Manifest(format_version=FORMAT_VERSION, digests=Digests(**digests), **sections)  # type: ignore[arg-type]


def section_digest(section: Section | None) -> str:
    """Return the SHA-256 over a section's canonical JSON."""
    return digest(None if section is None else section.model_dump())
