"""A trained network whole: its description, its head, its values under canonical names."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinybert.errors import InputError
from tinybert.model.families import TIED, canonical_names, pretraining_shapes
from tinybert.model.names import TRAINING_STATE
from tinybert.model.parameters import encoder_shapes, linear_shapes
from tinybert.model.weights import check_match
from tinybert.recipe.network import HeadConfig, NetworkConfig

Array = npt.NDArray[np.generic]

_POOLER = ("pooler.dense.weight", "pooler.dense.bias")
_POSITIONS = "embeddings.position_embeddings.weight"


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

    @property
    def has_pooler(self) -> bool:
        """Whether the pooler is there; a network that labels tokens may lack it."""
        return _POOLER[0] in self.arrays

    def without_pretraining(self) -> dict[str, Array]:
        """Return the values of encoder and task head."""
        return {n: array for n, array in self.arrays.items() if not n.startswith("cls.")}


def assemble(
    arrays: Mapping[str, Array],
    config: NetworkConfig,
    head: HeadConfig | None,
    *,
    labels: tuple[str, ...] | None,
    where: str,
) -> TrainedNetwork:
    """Return the network that the arrays of a checkpoint of any family hold.

    Args:
        arrays: Values under the names in the file.
        config: The network that they must fit.
        head: Its head, or None for an encoder.
        labels: Label names in the order of their ids, where they are known.
        where: The file.

    Raises:
        InputError: There is not exactly one network in the file, or names or shapes differ on
            either side; one error lists all.
    """
    try:
        names, left = canonical_names(arrays)
    except ValueError as error:
        raise InputError(
            f"not the weights of one BERT network: {error}",
            where=where,
            cure="name a checkpoint of BERT or of a run of this program",
        ) from error
    found = {meaning: arrays[name] for meaning, name in names.items()}
    for copy, original in TIED.items():
        if copy in found and _equal(found[copy], found.get(original)):
            del found[copy]
    unused = [] if head is not None else [n for n in found if n.startswith("classifier.")]
    if config.use_relative_positions and _POSITIONS in found:
        unused.append(_POSITIONS)
    for name in unused:
        del found[name]
    shapes = encoder_shapes(config)
    if head is not None and head.task_type == "ner" and not set(_POOLER) & set(found):
        shapes = {name: shape for name, shape in shapes.items() if name not in _POOLER}
    if head is not None:
        shapes |= linear_shapes("classifier", config.hidden_size, head.num_labels)
    shapes |= pretraining_shapes(found, config.vocab_size, config.hidden_size)
    check_match(found, shapes, dict.fromkeys(shapes, config.dtype), where=where)
    ordered = {name: found[name] for name in shapes}
    left = tuple(name for name in left if not TRAINING_STATE.search(name))
    return TrainedNetwork(config, head, labels, ordered, (*left, *(names[name] for name in unused)))


def _equal(array: Array, other: Array | None) -> bool:
    return other is not None and array.dtype == other.dtype and np.array_equal(array, other)
