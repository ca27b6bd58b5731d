"""How much memory a process of a run needs, on paper."""

from math import prod

from tinybert.model.parameters import encoder_shapes
from tinybert.plan.plan import Plan
from tinybert.recipe.network import NetworkConfig

FLOAT = 4
"""Bytes of a number; activations are float32 whatever the products' inputs are."""
BASE = {"CPU": 1 << 30, "Ascend": 2 << 30}
"""Bytes of interpreter, framework and compiled graph. CPU: what recipes/tiny.toml takes, whose
networks are next to nothing; Ascend: a guess."""
COPIES = 6
"""Numbers for each that is trained: weight, gradient, clipped gradient, two moments, one spare."""
HELD, INNER, SCORES = 40, 12, 20
"""Numbers that a trained layer holds for its gradient, for each of a hidden state, of the inside of
the feed-forward part, and of the scores. Fitted to two runs on a CPU: 6 x 384 fine-tuned on 32 rows
of 56 tokens, and 3 x 312 distilled on 8 rows of 128; the estimate is within a third of both."""


def process_bytes(plan: Plan) -> int:
    """Return an estimate of the bytes that one process of a run needs at once.

    Weights of all networks, what training needs for each, with other processes a message of
    gradients and its answer, and for every row of the process's share what the layers hold.
    """
    recipe = plan.resolved.recipe
    processes = recipe.topology.hosts * recipe.topology.devices_per_host
    trained = _trained(plan)
    total = BASE[recipe.topology.device]
    for which, config in plan.networks.items():
        copies = 1 if which != trained else COPIES + 2 * (processes > 1)
        total += parameters(config) * FLOAT * copies
    rows = max((phase.global_batch_size // processes for phase in plan.phases), default=1)
    length = recipe.data.seq_length
    for which, config in plan.networks.items():
        total += rows * _row(config, length, which == trained) * FLOAT
    return total


def parameters(config: NetworkConfig) -> int:
    """Return the numbers of an encoder."""
    return sum(prod(shape) for shape in encoder_shapes(config).values())


def _trained(plan: Plan) -> str | None:
    if not plan.phases:
        return None
    return "student" if "student" in plan.networks else "teacher"


def _row(config: NetworkConfig, length: int, trained: bool) -> int:
    """Return the numbers that are held for one row."""
    hidden = length * config.hidden_size
    scores = config.num_attention_heads * length * length
    if not trained:  # hidden states and scores that a student learns from
        return config.num_hidden_layers * (hidden + scores)
    inner = length * config.intermediate_size
    return config.num_hidden_layers * (HELD * hidden + INNER * inner + SCORES * scores)
