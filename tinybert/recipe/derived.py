"""Numbers that follow from a recipe's values."""

from tinybert.recipe.tables import Batches, Topology


def device_count(topology: Topology) -> int:
    """Return the number of processes of the whole run."""
    return topology.hosts * topology.devices_per_host


def global_batch_size(batches: Batches, topology: Topology) -> int:
    """Return the rows of a step over all devices."""
    if batches.global_batch_size is not None:
        return batches.global_batch_size
    assert batches.batch_size is not None
    return batches.batch_size * device_count(topology)


def batch_size(batches: Batches, topology: Topology) -> int:
    """Return the rows of a step on one device."""
    return global_batch_size(batches, topology) // device_count(topology)
