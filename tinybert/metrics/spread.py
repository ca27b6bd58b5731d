"""Mean, deviation and confidence interval of what equal runs of several seeds measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tinybert.errors import counted

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """What runs of several seeds measured."""

    count: int
    mean: float
    deviation: float | None
    """Of the sample, with n - 1; None of a single run, and where a value is not finite."""
    interval: tuple[float, float] | None
    """Where the mean of all seeds is, with a confidence of 95 %, by Student's t."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one value or more."""
        count = len(values)
        if count == 1 or not all(map(math.isfinite, values)):
            return cls(count, sum(values) / count, None, None)
        from scipy.stats import t

        mean, deviation = fmean(values), stdev(values)
        half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
        return cls(count, mean, deviation, (mean - half, mean + half))

    def __str__(self) -> str:
        """Return it in one line."""
        seeds = counted(self.count, "seed")
        if self.deviation is None or self.interval is None:
            return f"{self.mean:.4g} ({seeds})"
        low, high = self.interval
        return (
            f"{self.mean:.4g} ± {self.deviation:.2g} ({seeds}), 95 % interval of the mean "
            f"{low:.4g} to {high:.4g}"
        )
