"""How much memory a process of a run needs, on paper."""

from math import prod

from tinybert.model.parameters import encoder_shapes
from tinybert.plan import Plan
from tinybert.recipe.network import NetworkConfig

FLOAT = 4
"""Bytes of a number; activations are float32 whatever the products' inputs are."""
BASE = {"CPU": 700 << 20, "Ascend": 2 << 30}
"""Bytes of interpreter, framework and compiled graph. CPU: measured with recipes/tiny.toml, where
they are nearly all there is; Ascend: a guess."""
HELD = 8 + 2
"""Numbers as wide as a hidden state that a trained layer holds for its gradient, at every token."""
INNER = 3
"""The same, as wide as the feed-forward part."""
SCORES = 4
"""The same, as many as attention scores: scores, probabilities, mask, gradient."""


def process_bytes(plan: Plan) -> int:
    """Return an estimate of the bytes that one process of a run needs at once.

    Weights, gradients, two moments and one message of gradients of what is trained; weights of
    what is not; and for every row of the process's share what the layers hold for the gradient.
    """
    recipe = plan.resolved.recipe
    processes = recipe.topology.hosts * recipe.topology.devices_per_host
    trained = _trained(plan)
    total = BASE[recipe.topology.device]
    for which, config in plan.networks.items():
        copies = 1 if which != trained else 4 + 2 * (processes > 1)
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
