"""Whether a finished run meets its recipe's `[expect]`."""

from pathlib import Path
from typing import Any

from tinybert.compare.verdict import Run, first_step, out_of_tolerance
from tinybert.errors import ManifestError


def expectation_failures(run: Run) -> list[str]:
    """Return how a finished run differs from its `[expect]`; empty if it holds or there is none."""
    expect: dict[str, Any] = run.manifest.inputs.recipe.values.get("expect") or {}
    outcome = run.manifest.outcome
    failures = []
    if expect.get("finite_loss") and outcome.nonfinite_losses:
        failures.append(f"the loss was not finite in {outcome.nonfinite_losses} steps")
    if expect.get("steps") not in (None, outcome.steps):
        failures.append(f"{outcome.steps} steps ran, not {expect['steps']}")
    for name, bounds in (expect.get("metrics") or {}).items():
        failures += _out_of_bounds(name, bounds, run)
    if expect.get("reference"):
        reference = run.root / expect["reference"]
        failures += _other_than_reference(reference, expect.get("tolerance"), run)
    return failures


def _out_of_bounds(name: str, bounds: dict[str, float | None], run: Run) -> list[str]:
    metrics = run.manifest.outcome.metrics
    if name not in metrics:
        return [f"there is no metric {name}, only {', '.join(metrics) or 'none'}"]
    value = float(metrics[name])
    least, most = bounds.get("min"), bounds.get("max")
    if least is not None and not value >= least:
        return [f"{name} is {value!r}, below {least!r}"]
    if most is not None and not value <= most:
        return [f"{name} is {value!r}, above {most!r}"]
    return []


def _other_than_reference(path: Path, tolerance: dict[str, float] | None, run: Run) -> list[str]:
    """Compare with a reference: bit for bit on an equal environment, within tolerance elsewhere."""
    try:
        reference = Run.load(path)
    except ManifestError as error:
        return [f"reference: {error.message} ({path})"]
    mine, other = run.manifest, reference.manifest
    if mine.digests.outcome == other.digests.outcome:
        return []
    if mine.digests.environment == other.digests.environment:
        return [f"the outcome is not that of {path.name}, on an equal environment"]
    if tolerance is None:
        return [f"the outcome is not that of {path.name}, and [expect] has no tolerance"]
    step, _ = first_step(reference, run)
    apart = out_of_tolerance(other, mine, tolerance, step)
    return [f"out of tolerance of A = {path.name}: {failure}" for failure in apart]
