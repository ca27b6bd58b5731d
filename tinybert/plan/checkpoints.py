"""What the networks of a run take from checkpoints."""

from collections.abc import Iterator

import structlog

from tinybert.errors import InputError
from tinybert.model.names import TRAINING_STATE
from tinybert.model.parameters import fit_shapes
from tinybert.model.weights import LoadedWeights, read_weights
from tinybert.plan.compatibility import roles_with_trained_heads
from tinybert.plan.plan import Plan
from tinybert.recipe.model import GeneralDistill, TaskDistill
from tinybert.recipe.network import ROLES, Role, head

log = structlog.get_logger()


def read_checkpoint(plan: Plan, role: Role) -> LoadedWeights:
    """Read a network's checkpoint; log what is left out, and what begins from the seed instead.

    A network with a trained head takes its head; a student of layers its projection, if the
    checkpoint has one of the recipe's kind.

    Raises:
        InputError: It is damaged, or of another network; one error lists all.
    """
    recipe = plan.resolved.recipe
    trained_head = None
    if not isinstance(recipe, GeneralDistill) and role in roles_with_trained_heads(recipe):
        trained_head = head(recipe, role)
    projection = None
    if isinstance(recipe, TaskDistill) and recipe.phase1 is not None and role == "student":
        kind = recipe.phase1.distill.fit_dense
        projection = fit_shapes(plan.networks["student"], plan.networks["teacher"], kind)
    weights = read_weights(
        plan.checkpoints[role],
        plan.networks[role],
        f"{role}.",
        head=trained_head,
        fit_dense=projection,
        check=plan.parents[role].check_tensors if role in plan.parents else None,
    )
    if names := [name for name in weights.dropped if not TRAINING_STATE.search(name)]:
        log.info("weights left out", network=role, names=names)
    if weights.absent:
        log.info("weights from the seed", network=role, names=list(weights.absent))
    return weights


def read_checkpoints(plan: Plan) -> dict[str, LoadedWeights]:
    """Read the weights of the networks that do not begin from the seed.

    Raises:
        InputError: As `read_checkpoint`.
    """
    return {role: read_checkpoint(plan, role) for role in ROLES if role in plan.checkpoints}


def checkpoint_problems(plan: Plan) -> Iterator[InputError]:
    """Yield why a run could not begin from its checkpoints."""
    for role in ROLES:
        try:
            if role in plan.checkpoints:
                read_checkpoint(plan, role)
        except InputError as error:
            yield error
