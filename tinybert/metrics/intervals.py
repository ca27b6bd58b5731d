"""Confidence intervals of what was measured on one dev set, at 95 %.

They say how far a metric may move on other rows of the same kind. They know nothing of other
seeds: `spread.py` does. Resamples come from the raw words of NumPy's PCG64, which no version
changes: equal predictions have equal intervals.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinybert.metrics.spread import CONFIDENCE

RESAMPLES = 1000
SEED = 1
Rows = npt.NDArray[np.int64]
MetricsOfRows = Callable[[Rows], Mapping[str, float]]
"""Returns the metrics of some rows (N,), each as often as it is named."""


@dataclass(frozen=True)
class Interval:
    """Where a metric, or a difference of two, lies with a confidence of 95 %."""

    low: float
    high: float
    method: Literal["Wilson", "bootstrap"]

    def __str__(self) -> str:
        """Return it in one line."""
        return f"95 % interval {self.low:.4g} to {self.high:.4g} ({self.method})"


def wilson(right: int, count: int) -> Interval:
    """Return the interval of the share of `count` independent rows that are right.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, weight = right / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt((share * (1 - share) + weight / 4) / count)
    return Interval(max(0.0, middle - half), min(1.0, middle + half), "Wilson")


def bootstrap(measure: MetricsOfRows, count: int) -> dict[str, Interval]:
    """Return the percentile interval of each metric over resamples of `count` rows.

    A resample has as many rows, drawn with replacement. What depends on each other within a row,
    such as its tags, stays together.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    resampled = [measure(rows) for rows in _resamples(count)]
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    quantiles = {
        name: np.quantile([metrics[name] for metrics in resampled], tails).tolist()
        for name in resampled[0]
    }
    return {name: Interval(low, high, "bootstrap") for name, (low, high) in quantiles.items()}


def _resamples(count: int) -> Iterator[Rows]:
    generator, half, size = np.random.PCG64(SEED), np.uint64(32), np.uint64(count)
    for _ in range(RESAMPLES):
        yield ((generator.random_raw(count) >> half) * size >> half).astype(np.int64)
