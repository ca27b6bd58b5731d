"""The manifest's sections, typed. The text below a field explains it, here and in the README."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from tinybert.manifest.built import Effective, Environment
from tinybert.manifest.canonical import digest, parse_number, to_json
from tinybert.manifest.leaf import (
    DERIVED_NOTE,
    ENVIRONMENT_NOTE,
    INPUT,
    INPUT_NOTE,
    NO_FACTS,
    OUTPUT,
    OUTPUT_NUMBER,
    VOLATILE,
    NoFacts,
    Section,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORMAT_VERSION = 1
Status = Literal["planned", "running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Number(Section):
    """A float, readable and exact."""

    value: float | Literal["float:NaN", "float:Infinity", "float:-Infinity"]
    """The number, or `float:NaN`, `float:Infinity`, `float:-Infinity`."""
    hex: str
    """Its bits, as Python's `float.hex` writes them."""

    @classmethod
    def of(cls, value: float) -> "Number":
        """Return the number of a Python or NumPy float."""
        return cls(value=to_json(float(value)), hex=float(value).hex())

    def __float__(self) -> float:
        return parse_number(self.value)


@dataclass(frozen=True, kw_only=True)
class ValueOrigin(Section):
    """Where a resolved value comes from."""

    kind: Annotated[str, INPUT_NOTE]
    """`file`, `default`, `set`, `device` or `derived`."""
    place: Annotated[str, INPUT_NOTE]
    """File and line, or the option of the command line."""


@dataclass(frozen=True, kw_only=True)
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
    values: Annotated[dict[str, Any], INPUT]
    """Every resolved value, in the recipe's tables."""
    origins: dict[str, ValueOrigin]
    """Where each value comes from, by dotted key."""

    def arguments(self) -> tuple[list[str], str | None]:
        """Return the arguments of `--set`, in order, and the argument of `--device`."""
        pairs = [override.partition(" ") for override in self.overrides]
        devices = [value for option, _, value in pairs if option == "--device"]
        return [value for option, _, value in pairs if option == "--set"], next(iter(devices), None)


@dataclass(frozen=True, kw_only=True)
class Patch(Section):
    """Uncommitted changes of the code."""

    file: Annotated[str | None, INPUT_NOTE]
    """Name of the patch beside the manifest; null if it was too large to keep."""
    sha256: Annotated[str, INPUT_NOTE]
    """SHA-256 of the patch."""
    size: Annotated[int, INPUT_NOTE]
    """Bytes of the patch."""


@dataclass(frozen=True, kw_only=True)
class Code(Section):
    """The program that ran."""

    digest: Annotated[str, INPUT_NOTE]
    """SHA-256 over the canonical JSON of `files`."""
    files: Annotated[dict[str, str], INPUT]
    """SHA-256 of `runner.py`, of every file of `tinybert/`, and of `requirements.lock`."""
    commit: Annotated[str | None, INPUT_NOTE] = None
    """Git commit; null outside a repository."""
    dirty: Annotated[bool | None, INPUT_NOTE] = None
    """Whether these files differ from the commit; null where Git cannot say."""
    patch: Patch | None = None
    """What leads from the commit to the tracked files; null where nothing does."""
    untracked: Annotated[dict[str, str], INPUT] = field(default_factory=dict)
    """SHA-256 of files that were imported from the project and are not in the commit."""


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class Beginning(Section):
    """The finished run that this one goes on from, to more steps."""

    manifest: Annotated[str, INPUT_NOTE]
    """Its manifest; relative to the root if it lies below it."""
    step: Annotated[int, INPUT]
    """Its steps, which are the first of the trace."""
    trace_digest: Annotated[str, INPUT]
    """The digest of its trace."""


@dataclass(frozen=True, kw_only=True)
class Inputs(Section):
    """What the run was given."""

    stage: Annotated[str, INPUT]
    """`general_distill`, `task_distill`, `finetune` or `evaluate`."""
    recipe: RecipeFacts
    """The recipe."""
    code: Code
    """The program."""
    files: list[InputFile] = field(default_factory=list)
    """Every data file, vocabulary and checkpoint, in the order they are read in."""
    seeds: Annotated[dict[str, int], INPUT] = field(default_factory=dict)
    """The seeds that random choices derive from."""
    parents: list[Parent] = field(default_factory=list)
    """The runs whose results are read."""
    trial: Annotated[bool, INPUT_NOTE] = False
    """Whether `--try` cut the recipe to a few steps, and took its expectations away."""
    study: Annotated[str | None, INPUT_NOTE] = None
    """The digest of the study that the run is a member of; null: of none."""
    begins_with: Beginning | None = None
    """The run that this one goes on from; null: it began anew."""


@dataclass(frozen=True, kw_only=True)
class Failure(Section):
    """Why a run ended early."""

    type: Annotated[str, OUTPUT]
    """Name of the exception."""
    message: Annotated[str, OUTPUT]
    """Its message."""
    rank: Annotated[int | None, OUTPUT] = None
    """The process that failed first, where there were several."""
    step: Annotated[int | None, OUTPUT] = None
    """Steps that it had done."""
    exit_code: Annotated[int | None, OUTPUT] = None
    """How it ended; negative: by that signal; null: it had to be killed."""
    last_lines: Annotated[list[str], OUTPUT] = field(default_factory=list)
    """The end of its log."""


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
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
    metrics: Annotated[dict[str, Number], OUTPUT_NUMBER] = field(default_factory=dict)
    """Final metrics."""
    best_step: Annotated[int | None, OUTPUT] = None
    """The step of the best evaluation."""
    best_metrics: Annotated[dict[str, Number], OUTPUT_NUMBER] = field(default_factory=dict)
    """Metrics of the best evaluation."""
    trace_digest: Annotated[str | None, OUTPUT] = None
    """The last `chain` of the trace; null where nothing was trained."""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    """The checkpoints kept, oldest first."""
    best_checkpoint: Checkpoint | None = None
    """The checkpoint of the best evaluation."""
    error: Failure | None = None
    """Why it failed."""

    def every_checkpoint(self) -> list[Checkpoint]:
        """Return the checkpoints kept, oldest first, and then the best one."""
        return [*self.checkpoints, *filter(None, [self.best_checkpoint])]


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class ThroughputFacts(Section):
    """How fast a training was."""

    samples_per_second: Annotated[float, VOLATILE]
    """Rows a second over all processes, without the first call of the device."""


@dataclass(frozen=True, kw_only=True)
class MemoryFacts(Section):
    """Memory at most."""

    peak_resident_bytes: Annotated[int, VOLATILE]
    """Of the process that writes the manifest."""


@dataclass(frozen=True, kw_only=True)
class RankFacts(Section):
    """A process of a distributed run."""

    pid: Annotated[int, VOLATILE]
    """Its process id."""
    host: Annotated[str, VOLATILE]
    """Name of its machine."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFile(Section):
    """The file of a checkpoint as it was written."""

    size: Annotated[int, VOLATILE]
    """Bytes."""
    sha256: Annotated[str, VOLATILE]
    """SHA-256 of the file's bytes."""
    trace_digest: Annotated[str | None, VOLATILE] = None
    """The last `chain` of the trace at that time; null where nothing was trained."""


@dataclass(frozen=True, kw_only=True)
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
    command: Annotated[list[str], VOLATILE] = field(default_factory=list)
    """The command line."""
    segments: list[Segment] = field(default_factory=list)
    """The processes of the run, in order."""
    modified: Annotated[dict[str, int], VOLATILE] = field(default_factory=dict)
    """Time of the last change of every input file, in microseconds, when it was hashed."""
    hashing_seconds: Annotated[float | None, VOLATILE] = None
    """Time spent hashing inputs, beside other work."""
    checkpoint_files: dict[str, CheckpointFile] = field(default_factory=dict)
    """The files of the outcome's checkpoints, by their path in the run's folder."""
    throughput: ThroughputFacts | NoFacts = NO_FACTS
    """How fast it trained; empty where nothing was trained."""
    memory: MemoryFacts | NoFacts = NO_FACTS
    """Bytes at most, by kind."""
    ranks: dict[str, RankFacts] = field(default_factory=dict)
    """What the other processes of a distributed run left."""

    def with_last_segment(self, segment: Segment) -> "Volatile":
        """Return these facts with another last segment."""
        return replace(self, segments=[*self.segments[:-1], segment])


@dataclass(frozen=True, kw_only=True)
class Digests(Section):
    """SHA-256 of each section over its canonical JSON (RFC 8785)."""

    inputs: Annotated[str, INPUT_NOTE]
    """Of `inputs`."""
    effective: Annotated[str, DERIVED_NOTE]
    """Of `effective`."""
    environment: Annotated[str, ENVIRONMENT_NOTE]
    """Of `environment`."""
    outcome: Annotated[str, OUTPUT]
    """Of `outcome`: equal ones are what the verdict `bitwise` means."""
    volatile: Annotated[str, VOLATILE]
    """Of `volatile`."""


@dataclass(frozen=True, kw_only=True)
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


class Sections(TypedDict, total=False):
    """Sections of a manifest by their names."""

    inputs: Inputs
    effective: Effective
    environment: Environment
    outcome: Outcome
    volatile: Volatile


SECTIONS: tuple[str, ...] = tuple(Sections.__annotations__)


def build_manifest(**sections: "Unpack[Sections]") -> Manifest:
    """Return the manifest of these sections, with their digests."""
    digests = Digests(**{name: digest(sections.get(name)) for name in SECTIONS})
    return Manifest(format_version=FORMAT_VERSION, digests=digests, **sections)


def replace_sections(manifest: Manifest, **sections: "Unpack[Sections]") -> Manifest:
    """Return a manifest with new sections; the others stay, and so do their digests."""
    digests = {name: digest(section) for name, section in sections.items()}
    return replace(manifest, digests=replace(manifest.digests, **digests), **sections)
