"""How runs and comparisons ended, in a word and a colour."""

from dataclasses import dataclass

from tinybert.compare.verdict import Comparison
from tinybert.manifest.document import Run
from tinybert.report.facts import unmet

LOOKS = {"finished": "good", "failed": "bad", "abandoned": "open", "interrupted": "open"}
"""How a status looks; others are neutral."""


@dataclass(frozen=True)
class Badge:
    """A state in a word."""

    text: str
    look: str
    """`good`, `bad`, `open` or `neutral`."""


def comparison_badge(comparison: Comparison) -> Badge:
    """Return the verdict on two runs: bad only where nothing recorded explains a difference."""
    if comparison.verdict == "incomparable":
        return Badge(comparison.verdict, "open")
    if comparison.verdict == "different":
        return Badge(comparison.verdict, "neutral" if comparison.causes else "bad")
    return Badge(comparison.verdict, "good")


def run_badge(run: Run) -> Badge:
    """Return how a run ended."""
    if unmet(run):
        return Badge("expectation failed", "bad")
    return Badge(run.status, LOOKS.get(run.status, "neutral"))
