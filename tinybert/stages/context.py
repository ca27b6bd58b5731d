"""What a stage is given, what it trains, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mindspore import Parameter

from tinybert.audit.replay import Replay
from tinybert.data.phases import TrainingPhase
from tinybert.data.store import TokenStore
from tinybert.distill.distiller import Distiller
from tinybert.distill.prediction import LabelTraining, PredictionDistiller
from tinybert.manifest.built import Environment, TeacherCacheFacts
from tinybert.manifest.leaf import NO_FACTS, NoFacts
from tinybert.manifest.record import RunRecord
from tinybert.model.weights import LoadedWeights
from tinybert.plan.plan import Plan
from tinybert.plan.provenance import Provenance
from tinybert.train.checkpoint import Best
from tinybert.train.checkpoint_manager import BestMetric
from tinybert.train.feed import Feed
from tinybert.train.loop import StepResult, ignore_activity
from tinybert.train.world import ALONE, World

LossNetwork = Distiller | LabelTraining | PredictionDistiller
"""construct(*inputs) -> the loss, then the parts that `part_names` names."""


@dataclass(frozen=True)
class RunContext:
    """What a stage is given: what to do, what was read for it, the process that it runs in."""

    plan: Plan
    record: RunRecord
    stores: Mapping[str, TokenStore]
    """The plan's records."""
    loaded: dict[str, LoadedWeights]
    """Weights that were read from files, by network, until the last training has copies."""
    provenance: Provenance
    """The files of both."""
    on_step: Callable[[StepResult], None]
    """Called with every step."""
    stop_requested: Callable[[], bool]
    """Whether to finish the step, save and end."""
    environment: Environment
    """What the process runs on."""
    world: World = ALONE
    """The processes of the run."""
    report_activity: Callable[[str], None] = ignore_activity
    """Called with what is done from now on; see `run.heartbeat.Heartbeat.activity`."""
    replay: Replay | None = None
    """What an audit replays of a finished run, in place of the trainings."""


@dataclass(frozen=True)
class TrainingSetup:
    """What is trained, on what, and what is kept of it."""

    phase: TrainingPhase
    network: LossNetwork
    feed: Feed
    groups: Mapping[str, Sequence[Parameter]]
    """All parameters by network."""
    trained: Sequence[str]
    """Names of the parameters that the recipe asks to train."""
    weights: Sequence[Parameter]
    """What a checkpoint keeps, beside the training's state."""
    scopes: Mapping[str, str]
    """Part of the operators' scope that identifies a network, by the network's name."""
    teacher_cache: TeacherCacheFacts | NoFacts = NO_FACTS
    selection: BestMetric | None = None
    labels: Sequence[str] | None = None
    """Label names that the weights are trained for, where they are known."""
    name: str | None = None
    """Of a phase of a run of several, whose checkpoints and facts are kept apart."""
    steps_before: int = 0
    """Steps of the run's earlier phases."""


@dataclass(frozen=True)
class StageResult:
    """The result of a stage."""

    finished: bool
    """false: it was asked to stop, and saved what it has."""
    optimizer_steps: int
    """Updates, over all phases."""
    samples: int
    """Rows trained on, or evaluated, over all processes and phases."""
    metrics: dict[str, float]
    """Final metrics."""
    best: Best | None = None
    """The best evaluation, counted in steps of the run."""
