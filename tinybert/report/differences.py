"""What differs in two runs: what was changed, what follows from it, where the traces part."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tinybert.compare.causes import Cause
from tinybert.compare.steps import StepDifference
from tinybert.compare.tensors import TensorDifference
from tinybert.report.consequences import RootCause, explain_differences
from tinybert.report.figures import Figure, difference_figure
from tinybert.report.numbers import digest_text, value_text
from tinybert.report.subject import Subject


@dataclass(frozen=True)
class Differences:
    """What differs in two runs."""

    same: bool
    """Whether the outcomes are the same, so that no difference had an effect."""
    roots: list[RootCause]
    together: list[Cause]
    """What was built otherwise, for more than one of the reasons above."""
    reasons: Sequence[str]
    harmless: Sequence[Cause]
    notes: Sequence[str]
    step: StepDifference | None
    step_rows: list[tuple[str, Markup, Markup]]
    """What differs in that step."""
    tensor: TensorDifference | None
    outcome: list[tuple[str, Markup, Markup]]
    figure: Figure | None


def differences(subject: Subject) -> Differences | None:
    """Return what differs in the two runs of a page."""
    comparison = subject.comparison
    if comparison is None:
        return None
    explained = explain_differences(comparison.causes, comparison.harmless)
    step = comparison.step
    return Differences(
        same=comparison.same,
        roots=explained.roots,
        together=explained.together,
        reasons=comparison.reasons,
        harmless=explained.harmless,
        notes=comparison.notes,
        step=step,
        step_rows=[] if step is None else [(n, *_pair(pair)) for n, pair in step.values.items()],
        tensor=comparison.tensor,
        outcome=[(name, *_pair(pair)) for name, pair in comparison.outcome.items()],
        figure=difference_figure(subject),
    )


def _pair(pair: tuple[object, object]) -> tuple[Markup, Markup]:
    a, b = (
        digest_text(value) if isinstance(value, str) and len(value) == 64 else value_text(value)
        for value in pair
    )
    return a, b
