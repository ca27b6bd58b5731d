"""What the recipes of a page's runs expect, each with whether it holds."""

from collections.abc import Iterator
from dataclasses import dataclass

from tinybert.compare.expectations import expectation_failures
from tinybert.compare.verdict import expectations
from tinybert.manifest.document import Run
from tinybert.report.subject import PagedRun, Subject
from tinybert.report.words import metric_words


@dataclass(frozen=True)
class ExpectationCheck:
    """An expectation."""

    holds: bool
    text: str


def checks(subject: Subject) -> list[tuple[PagedRun, list[ExpectationCheck]]] | None:
    """Return the expectations of each finished run that has any; failures come first."""
    checked = [
        (paged, sorted(_checks(paged.run), key=lambda check: check.holds))
        for paged in subject.runs
        if paged.run.status == "finished" and paged.run.manifest.inputs.recipe.values.get("expect")
    ]
    return [each for each in checked if each[1]] or None


def _checks(run: Run) -> Iterator[ExpectationCheck]:
    """Yield the expectations that failed, and then those that hold."""
    expect, failures = expectations(run.manifest), expectation_failures(run)
    yield from (ExpectationCheck(False, failure.message) for failure in failures)
    failed = {failure.key for failure in failures}
    if expect.finite_loss and "finite_loss" not in failed:
        yield ExpectationCheck(True, "every loss is finite")
    if expect.steps is not None and "steps" not in failed:
        yield ExpectationCheck(True, f"{expect.steps:,} steps")
    for name, bounds in (expect.metrics or {}).items():
        ends = ((bounds.min, "at least"), (bounds.max, "at most"))
        words = " and ".join(f"{word} {end:g}" for end, word in ends if end is not None)
        if words and f"metrics.{name}" not in failed:
            yield ExpectationCheck(True, f"{metric_words(name)} {words}")
    if expect.reference is not None and "reference" not in failed:
        yield ExpectationCheck(True, f"the outcome of {expect.reference}")
