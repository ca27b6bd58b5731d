"""Mean, deviation and confidence interval of what equal runs of several seeds measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """What several runs measured."""

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
        if self.deviation is None or self.interval is None:
            return f"{self.mean:.4g} ({self.count} run{'s' if self.count > 1 else ''})"
        low, high = self.interval
        return (
            f"{self.mean:.4g} ± {self.deviation:.2g} ({self.count} runs), 95 % interval of the "
            f"mean {low:.4g} to {high:.4g}"
        )
