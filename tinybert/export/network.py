"""A trained network whole: its description, its head, its values under canonical names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinybert.model.names import (
    CLASSIFIER,
    POOLER,
    POSITION_EMBEDDINGS,
    QA_OUTPUTS,
    TIED,
    TRAINING_STATE,
)
from tinybert.model.parameters import (
    Array,
    encoder_shapes,
    head_shapes,
    pretraining_shapes,
)
from tinybert.model.weights import check_match, parameter_names
from tinybert.recipe.network import HeadConfig, NetworkConfig

if TYPE_CHECKING:
    from tinybert.model.heads import Pooling, TaskNetwork


INPUT_NAMES = ("input_ids", "segment_ids", "input_mask")
"""(B, S) int32 each, in this order; also the order of MINDIR's inputs."""
TRANSFORMERS_INPUTS = {
    "input_ids": "input_ids",
    "attention_mask": "input_mask",
    "token_type_ids": "segment_ids",
}
"""What transformers, and an ONNX graph here, call these inputs, in the order of their graphs."""


@dataclass(frozen=True)
class TrainedNetwork:
    """One network out of a checkpoint."""

    config: NetworkConfig
    head: HeadConfig | None
    """What predicts a task from the encoder's output; None for an encoder."""
    labels: tuple[str, ...] | None
    """Label names in the order of their ids, where they are known."""
    arrays: dict[str, Array]
    """Values as the checkpoint has them, by canonical name, in network order."""
    left: tuple[str, ...]
    """Names in the checkpoint that are neither of this network nor a training's state."""

    def without_pretraining(self) -> dict[str, Array]:
        """Return the values of encoder and task head."""
        return {n: array for n, array in self.arrays.items() if not n.startswith("cls.")}

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the network's outputs, all float32.

        `logits` (B, C), or (B, S, C) for tags, where there is a head; otherwise
        `last_hidden_state` (B, S, H) and `pooler_output` (B, H).
        """
        return ("last_hidden_state", "pooler_output") if self.head is None else ("logits",)


def assemble(
    arrays: Mapping[str, Array],
    config: NetworkConfig,
    head: HeadConfig | None,
    *,
    labels: tuple[str, ...] | None,
    where: str,
    pooler: bool = True,
) -> TrainedNetwork:
    """Return the network that the arrays of a checkpoint of any family hold.

    Args:
        arrays: Values under the names in the file.
        config: The network that they must fit.
        head: Its head, or None for an encoder.
        labels: Label names in the order of their ids, where they are known.
        where: The file.
        pooler: Whether the pooler must be there, where tags are not what is predicted.

    Raises:
        InputError: There is not exactly one network in the file, or names or shapes differ on
            either side; one error lists all.
    """
    names = parameter_names(arrays, where=where)
    used = {n: arrays[at] for n, at in names.items() if not n.startswith("fit_dense.")}
    copies = [copy for copy, original in TIED.items() if _equal(used.get(copy), used.get(original))]
    heads = (f"{CLASSIFIER}.", f"{QA_OUTPUTS}.")
    unused = [n for n in used if head is None and n.startswith(heads)]
    unused += [POSITION_EMBEDDINGS] if config.use_relative_positions else []
    for name in (*copies, *unused):
        used.pop(name, None)
    shapes = encoder_shapes(config)
    optional = not pooler or (head is not None and head.kind.logits_by_token)
    if optional and not any(n.startswith(POOLER) for n in used):
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith(POOLER)}
    if head is not None:
        shapes |= head_shapes(config, head)
    shapes |= pretraining_shapes(used, config)
    check_match(used, shapes, dict.fromkeys(shapes, config.dtype), where=where)
    left = set(arrays) - {names[n] for n in (*shapes, *copies)}
    return TrainedNetwork(
        config,
        head,
        labels,
        {name: used[name] for name in shapes},
        tuple(name for name in arrays if name in left and not TRAINING_STATE.search(name)),
    )


def _equal(array: Array | None, other: Array | None) -> bool:
    return (
        array is not None
        and other is not None
        and array.dtype == other.dtype
        and np.array_equal(array, other)
    )


def inference_cell(network: TrainedNetwork) -> "Pooling | TaskNetwork":
    """Return the network, built and loaded, which computes its `output_names`."""
    from tinybert.model.bert import BertEncoder
    from tinybert.model.heads import Pooling, TaskNetwork
    from tinybert.model.layers import load_into

    shapes = encoder_shapes(network.config)
    # a network of tags has no use for a pooler, and its file may lack it
    arrays = {n: np.zeros(s, np.float32) for n, s in shapes.items() if n.startswith(POOLER)}
    # without dropout, so whatever rates a description has
    config = replace(network.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    encoder = BertEncoder(config, "")
    if network.head is None:
        cell: Pooling | TaskNetwork = Pooling(encoder)
    else:
        cell = TaskNetwork(encoder, replace(network.head, classifier_dropout_prob=0.0))
    load_into(cell, arrays | network.without_pretraining())
    cell.set_train(False)
    return cell
