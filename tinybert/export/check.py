"""Compare an exported file with the network it came from, on inputs drawn from a seed."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.errors import ExportError
from tinybert.export.network import TrainedNetwork
from tinybert.manifest.exported import OutputDifference
from tinybert.manifest.model import Number
from tinybert.randomness import uniform
from tinybert.recipe.network import NetworkConfig

Outputs = Sequence[npt.NDArray[np.float32]]
Runner = Callable[[Batch], Outputs]

SEED = 1
TOLERANCE = {"float32": 2e-5, "float16": 2e-2}
"""Largest difference allowed, as a share of the output's largest value or of 1, by the type of
the matrix products' inputs."""
POOLED_TOLERANCE = 1e-4
"""The same for a float32 pooled output and what is computed from it: tanh widens differences."""


def batches(config: NetworkConfig, seq_length: int) -> Iterator[Batch]:
    """Yield batches of two shapes, drawn from a seed: (1, S) and (3, S // 2), with padding."""
    for rows, length in ((1, seq_length), (3, max(1, seq_length // 2))):
        draws = uniform(SEED, f"export/{rows}x{length}", 2 * rows * length + rows)
        ids, segments = draws[: 2 * rows * length].reshape(2, rows, length)
        tokens = 1 + np.floor(draws[-rows:, None] * length)
        input_mask = np.arange(length) < tokens if rows > 1 else np.ones((rows, length))
        yield Batch(
            (ids * config.vocab_size * input_mask).astype(np.int32),
            (segments * config.type_vocab_size * input_mask).astype(np.int32),
            input_mask.astype(np.int32),
        )


def measure_differences(
    network: TrainedNetwork,
    names: Sequence[str],
    reference: Runner,
    exported: Runner,
    seq_length: int,
) -> list[OutputDifference]:
    """Run a network here and its exported file in another program on the same batches.

    Raises:
        ExportError: An output has another shape, is not finite, or differs by more than allowed.
    """
    differences = []
    for batch in batches(network.config, seq_length):
        rows, length = batch.input_ids.shape
        for name, ours, theirs in zip(names, reference(batch), exported(batch), strict=True):
            if ours.shape != theirs.shape:
                raise ExportError(
                    f"the exported file gives {name} of shape {theirs.shape}, "
                    f"the network {ours.shape}; nothing was written"
                )
            largest = float(np.abs(ours.astype(np.float64) - theirs).max())
            allowed = _tolerance(network, name) * max(1.0, float(np.abs(ours).max()))
            if not largest <= allowed:  # also where it is not a number
                raise ExportError(
                    f"the exported file differs from the network by {largest:.3g} in {name} of "
                    f"{rows} rows of {length} tokens, where {allowed:.3g} is allowed; "
                    "nothing was written"
                )
            differences.append(
                OutputDifference(
                    batch=rows,
                    sequence=length,
                    output=name,
                    largest_difference=Number.of(largest),
                    allowed=allowed,
                )
            )
    return differences


def _tolerance(network: TrainedNetwork, name: str) -> float:
    config = network.config
    if "float16" in (config.dtype, config.compute_type):
        return TOLERANCE["float16"]
    by_token = network.head is not None and network.head.kind.logits_by_token
    return TOLERANCE["float32"] if name == "last_hidden_state" or by_token else POOLED_TOLERANCE
