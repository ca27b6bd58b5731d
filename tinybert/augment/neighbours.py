"""The vectors that are nearest to one, by the cosine of the angle between them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tinybert.augment.largest import NONE, largest
from tinybert.data.batch import FloatArray
from tinybert.data.rows import Int32Array
from tinybert.kernels.neighbours import inner_products, normalize_rows


class Neighbours:
    """Finds the nearest of some vectors, for each of them once; zeros are near to none.

    Args:
        vectors: (N, D) float32.
        among: Which of them are looked for, and at, ascending.
        count: Most neighbours of one (M).
    """

    def __init__(self, vectors: FloatArray, among: Sequence[int], count: int) -> None:
        places = np.array(among, np.int64)
        self._places = places[vectors[places].any(axis=1)]
        self._rows = vectors[self._places]
        normalize_rows(self._rows)
        self._row_of = {int(place): row for row, place in enumerate(self._places)}
        self._count = count
        self._nearest_to: dict[int, Int32Array] = {}

    def nearest(self, of: Sequence[int]) -> Int32Array:
        """Return the nearest to each of some vectors (Q, M) int32, nearest first.

        Of equally near ones the first comes first; a vector is not its own neighbour. `NONE` is
        after the last of each.
        """
        new = [each for each in dict.fromkeys(of) if each not in self._nearest_to]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._nearest_to.update(zip(new, pool.map(self._find, new), strict=True))
        nearest = [self._nearest_to[each] for each in of]
        return np.array(nearest, np.int32).reshape(len(of), self._count)

    def _find(self, of: int) -> Int32Array:
        row = self._row_of.get(of)
        if row is None:
            return np.full(self._count, NONE, np.int32)
        cosines = np.empty(len(self._rows), np.float32)
        inner_products(self._rows, self._rows[row], cosines)
        cosines[row] = -np.inf
        rows = largest(cosines[None], self._count)[0]
        return np.where(rows == NONE, NONE, self._places[rows]).astype(np.int32)
