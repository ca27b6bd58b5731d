"""What differs between two runs, in words, for the terminal and the page alike."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tinybert.compare.causes import NOTE, ORDER, format_value
from tinybert.compare.steps import StepDifference
from tinybert.compare.verdict import Comparison
from tinybert.manifest.model import Number
from tinybert.report.facts import Row

LISTED = 20
"""Differences of each kind that are shown at once."""


@dataclass(frozen=True)
class Differences:
    """What differs between two runs, in words."""

    headline: str
    """The verdict in one line, with the most probable cause of a difference."""
    without_effect: bool
    """Whether the outcomes are the same, so that the causes had no effect."""
    causes: list[str]
    """What can be the cause, the most probable first."""
    notes: list[str]
    """Differences that cause nothing."""
    outcome: list[Row]
    """Fact of the outcome, its value in A, its value in B."""
    evidence: str
    """What the first differing step shows about the cause; empty without one."""
    step: list[Row]
    """Quantity of the first differing step, its value in A, its value in B."""


def differences(comparison: Comparison) -> Differences:
    """Return what differs between two runs, in words."""
    step = comparison.step
    return Differences(
        headline=_headline(comparison),
        without_effect=comparison.verdict in ("bitwise", "equal"),
        causes=[cause.text for cause in comparison.causes if cause.rank != NOTE],
        notes=[cause.text for cause in comparison.causes if cause.rank == NOTE],
        outcome=list(_value_rows(comparison.outcome)),
        evidence=_evidence(step) if step else "",
        step=list(_value_rows(step.values)) if step else [],
    )


def value_text(value: Any) -> str:
    """Return a value of a manifest or a trace in one line, numbers exact."""
    if isinstance(value, Number):
        value = float(value)
    return f"{value!r} ({value.hex()})" if isinstance(value, float) else format_value(value)


def _headline(comparison: Comparison) -> str:
    """Return the verdict in one line, with the most probable cause of a difference."""
    verdict = comparison.verdict
    if verdict == "bitwise":
        return "bitwise: the outcomes are equal"
    if verdict == "equal":
        far = comparison.step.loss_difference if comparison.step else 0.0
        shared = "the same samples in the same order, initial weights and masks"
        return f"equal: {shared}; losses within {far:.2g} relative"
    if comparison.across_topology:
        return f"{verdict}: {'; '.join(comparison.reasons)}"
    parts = list(comparison.reasons) if verdict == "incomparable" else []
    cause = comparison.cause
    if cause is not None:
        parts.append(cause.text)
    elif verdict != "incomparable":
        parts.append("no cause is recorded: inputs, graphs and environments are equal")
    if comparison.step is not None and verdict != "incomparable":
        if cause is None or cause.rank != ORDER:
            parts.append(_evidence(comparison.step))
    return f"{verdict}: {'; '.join(parts)}"


def _evidence(step: StepDifference) -> str:
    """Return what the first differing step shows about the cause."""
    if step.ended:
        return f"{step.ended} ends before step {step.global_step}"
    if not step.other_data:
        return f"other arithmetic on equal batches from step {step.global_step}"
    if step.same_batches:
        return f"the same batches in another order from step {step.global_step}"
    return f"other batches from step {step.global_step}"


def _value_rows(pairs: Mapping[str, tuple[Any, Any]]) -> Iterator[Row]:
    yield from ((name, value_text(x), value_text(y)) for name, (x, y) in pairs.items())
