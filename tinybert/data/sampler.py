"""Which rows a step trains on, as a pure function of the step."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tinybert.errors import InputError
from tinybert.randomness import permutation

IndexArray = npt.NDArray[np.int64]


class Sampler:
    """The rows of every global batch of a run.

    Args:
        rows: Rows in the store.
        global_batch_size: Rows a step over all devices.
        seed: The recipe's seed.
        shuffle: A new order every epoch; false: the order of the store.
        drop_remainder: Leave out the rows that do not fill an epoch's last batch; false: that
            batch is short.

    Raises:
        InputError: An epoch has no batch.
    """

    def __init__(
        self, rows: int, global_batch_size: int, seed: int, shuffle: bool, drop_remainder: bool
    ) -> None:
        full, rest = divmod(rows, global_batch_size)
        self.batches_per_epoch = full if drop_remainder or rest == 0 else full + 1
        if self.batches_per_epoch == 0:
            raise InputError(
                f"an epoch has no batch: {rows} rows, global batch size {global_batch_size}, "
                f"drop_remainder {str(drop_remainder).lower()}",
                cure="lower the batch size, or give more rows",
            )
        self.rows = rows
        self.global_batch_size = global_batch_size
        self._seed = seed
        self._shuffle = shuffle
        # Batches are made ahead across the end of an epoch: the last two orders are at hand.
        self._order = lru_cache(maxsize=2)(self._epoch_order)

    def indices(self, global_step: int) -> IndexArray:
        """Return the rows of a step: (B,) int64, B the global batch size or, last, fewer."""
        epoch, batch = divmod(global_step, self.batches_per_epoch)
        first = batch * self.global_batch_size
        return self._order(epoch)[first : first + self.global_batch_size]

    def _epoch_order(self, epoch: int) -> IndexArray:
        if self._shuffle:
            order = permutation(self._seed, epoch, self.rows)
        else:
            order = np.arange(self.rows, dtype=np.int64)
        order.flags.writeable = False
        return order


def shard(rows: IndexArray, part: int, parts: int) -> IndexArray:
    """Return one of `parts` contiguous slices of a global batch.

    The slices 0, 1, ... are the batch in its order; their sizes differ by at most 1.
    """
    size = len(rows)
    return rows[size * part // parts : size * (part + 1) // parts]
