"""Two runs on the same rows: what one has right and the other has not, and whether by chance."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two runs, A and B, on the same rows, or true entities."""

    both: int
    """Right in both."""
    only_a: int
    only_b: int
    neither: int
    p_value: float
    """How probable it is that at least as unequal a split of `only_a + only_b` comes by chance,
    where each falls to either side alike (two-sided); 1 where there are none."""

    @classmethod
    def of(cls, a: Flags, b: Flags) -> "McNemar":
        """Test two runs by what each has right (N,).

        Source: McNemar, Note on the sampling error of the difference between correlated
        proportions or percentages, 1947; exact, by the binomial distribution.
        """
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        p_value = 1.0
        if only_a + only_b:
            from scipy.stats import binomtest  # takes half a second to import

            p_value = float(binomtest(only_a, only_a + only_b, 0.5).pvalue)
        return cls(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), p_value)
