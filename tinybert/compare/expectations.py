"""Whether a finished run meets the `[expect]` of its recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinybert.compare.causes import NOTE, environment_causes
from tinybert.compare.verdict import expectations, first_step, out_of_tolerance
from tinybert.errors import ManifestError
from tinybert.manifest.document import Run
from tinybert.manifest.model import Number
from tinybert.recipe.tables import Bounds, Tolerance


@dataclass(frozen=True)
class ExpectationFailure:
    """An expectation that a run does not meet."""

    key: str
    """Its key below `[expect]`: `finite_loss`, `steps`, `metrics.NAME` or `reference`."""
    message: str
    """How the run differs from it, in one line."""


def expectation_failures(run: Run) -> list[ExpectationFailure]:
    """Return which expectations a finished run fails; none if its recipe has no `[expect]`."""
    return [*_failures(run)]


def _failures(run: Run) -> Iterator[ExpectationFailure]:
    expect, outcome = expectations(run.manifest), run.manifest.outcome
    if expect.finite_loss and outcome.nonfinite_losses:
        message = f"the loss was not finite in {outcome.nonfinite_losses} steps"
        yield ExpectationFailure("finite_loss", message)
    if expect.steps not in (None, outcome.steps):
        yield ExpectationFailure("steps", f"{outcome.steps} steps ran, not {expect.steps}")
    for name, bounds in (expect.metrics or {}).items():
        if message := _out_of_bounds(name, bounds, outcome.metrics):
            yield ExpectationFailure(f"metrics.{name}", message)
    if expect.reference is not None:
        for message in _other_than_reference(run.root / expect.reference, expect.tolerance, run):
            yield ExpectationFailure("reference", message)


def _out_of_bounds(name: str, bounds: Bounds, metrics: dict[str, Number]) -> str:
    """Return how a metric is out of its bounds; empty if it is within them."""
    if name not in metrics:
        return f"there is no metric {name}, only {', '.join(metrics) or 'none'}"
    value = float(metrics[name])
    if bounds.min is not None and not value >= bounds.min:
        return f"{name} is {value!r}, below {bounds.min!r}"
    if bounds.max is not None and not value <= bounds.max:
        return f"{name} is {value!r}, above {bounds.max!r}"
    return ""


def _other_than_reference(path: Path, tolerance: Tolerance | None, run: Run) -> list[str]:
    """Compare with a reference: bit for bit on an equal environment, within tolerance elsewhere.

    Environments are equal where all is that results depend on.
    """
    try:
        reference = Run.load(path)
    except ManifestError as error:
        return [f"reference: {error.message} ({path})"]
    mine, other = run.manifest, reference.manifest
    if mine.digests.outcome == other.digests.outcome:
        return []
    if all(cause.rank == NOTE for cause in environment_causes(mine, other)):
        return [f"the outcome is not that of {path.name}, on an equal environment"]
    if tolerance is None:
        return [f"the outcome is not that of {path.name}, and [expect] has no tolerance"]
    step, _ = first_step(reference, run)
    apart = out_of_tolerance(other, mine, tolerance, step)
    return [f"out of tolerance of A = {path.name}: {failure}" for failure in apart]
