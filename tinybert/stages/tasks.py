"""What the stages with a task have in common: networks with heads, feeds, evaluations."""

from collections.abc import Mapping
from typing import Literal

from tinybert.data.phases import TrainingPhase
from tinybert.data.store import TokenStore
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork, task_sites
from tinybert.model.loading import load_into
from tinybert.model.parameters import encoder_shapes, head_shapes
from tinybert.model.weights import LoadedWeights
from tinybert.plan.plan import Plan
from tinybert.recipe.network import HeadConfig, head
from tinybert.recipe.tables import Task
from tinybert.stages import build
from tinybert.train.evaluation import Evaluation, Measure, Prediction
from tinybert.train.feed import Feed, LossInputs
from tinybert.train.world import World

NETWORKS: tuple[Literal["teacher", "student"], ...] = ("teacher", "student")


def task_heads(plan: Plan) -> dict[str, HeadConfig]:
    """Return the head of each network."""
    recipe = plan.resolved.recipe
    return {role: head(recipe, role) for role in NETWORKS if role in plan.networks}


def task_network(
    plan: Plan, role: str, loaded: Mapping[str, LoadedWeights], config: HeadConfig
) -> TaskNetwork:
    """Build a network with its head and its first weights."""
    network = TaskNetwork(BertEncoder(plan.networks[role], f"{role}."), config)
    load_into(network, build.first_weights(plan, role, loaded, config))
    return network


def task_feed(
    plan: Plan,
    phase: TrainingPhase,
    role: str,
    config: HeadConfig,
    store: TokenStore,
    loss_inputs: LossInputs,
    world: World,
) -> Feed:
    """Build what gives every step of a training of a network with head its inputs."""
    sites = task_sites(plan.networks[role], config, store.seq_length)
    return build.training_feed(plan, phase, store, sites, loss_inputs, world)


def trained_names(plan: Plan, role: str, config: HeadConfig) -> list[str]:
    """Return the parameters that a training of a network with head trains: all that it uses."""
    encoder = plan.networks[role]
    unused = "pooler." if config.task_type == "ner" else "none"
    shapes = encoder_shapes(encoder) | head_shapes(encoder, config)
    return [f"{role}.{name}" for name in shapes if not name.startswith(unused)]


def evaluation(
    plan: Plan,
    task: Task,
    network: TaskNetwork,
    store: TokenStore,
    *,
    batch_size: int,
    drop_remainder: bool,
    world: World,
) -> Evaluation:
    """Return what measures a network on the dev set."""
    return Evaluation(
        Prediction(network, world).logits,
        store,
        batch_size=batch_size,
        drop_remainder=drop_remainder,
        measure=Measure(task.task_type, task.assessment_method, task.num_labels, plan.labels),
        world=world,
    )
