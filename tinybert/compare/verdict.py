"""The verdict on two runs: bitwise, within tolerance, different, or incomparable."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from tinybert.compare.causes import NOTE, ORDER, Cause, causes, differing_leaves
from tinybert.compare.steps import StepDifference, Trace, first_difference
from tinybert.compare.tensors import TensorDifference, first_tensor, other_tensors
from tinybert.errors import ManifestError
from tinybert.manifest.canonical import canonical
from tinybert.manifest.document import Run
from tinybert.manifest.model import Manifest
from tinybert.manifest.record import TRACE
from tinybert.recipe.tables import Expect, Tolerance

ACROSS = 1e-3
"""How far losses across topologies may be apart, relative, where no recipe says so: the rounding of
sums in another order, which a long training makes larger."""
Verdict = Literal["bitwise", "within tolerance", "equal", "different", "incomparable"]
"""From best to none; `equal` is the best verdict across topologies."""


@dataclass(frozen=True)
class Comparison:
    """The answer of `diff`.

    Args:
        across_topology: Whether it compares what two topologies share instead of bits.
        verdict: On the outcomes alone.
        reasons: Why the runs are incomparable, what two topologies do not share, or what is out
            of tolerance.
        causes: What differs outside the outcomes, the most probable cause first.
        harmless: What differs outside the outcomes and is no cause.
        outcome: Differing facts of the outcomes, with both values.
        step: The first differing step.
        tensor: The first differing tensor.
        notes: What could not be compared.
    """

    across_topology: bool
    verdict: Verdict
    reasons: list[str]
    causes: list[Cause]
    harmless: list[Cause]
    outcome: dict[str, tuple[Any, Any]]
    step: StepDifference | None
    tensor: TensorDifference | None
    notes: list[str]

    @property
    def same(self) -> bool:
        """Whether the outcomes are the same, so that no cause had an effect."""
        return self.verdict in ("bitwise", "equal")

    @property
    def headline(self) -> str:
        """The verdict in one line, with the most probable cause of a difference."""
        if self.verdict == "bitwise":
            return "bitwise: the outcomes are equal"
        if self.verdict == "equal":
            far = self.step.loss_difference if self.step else 0.0
            shared = "the same samples in the same order, initial weights and masks"
            return f"equal: {shared}; losses within {far:.2g} relative"
        if self.across_topology:
            return f"{self.verdict}: {'; '.join(self.reasons)}"
        causes = [cause.text for cause in self.causes[:1]]
        if self.verdict == "incomparable":
            return f"incomparable: {'; '.join([*self.reasons, *causes])}"
        if not causes:
            causes = ["no cause is recorded: inputs, graphs and environments are equal"]
        if self.step is not None and (not self.causes or self.causes[0].rank != ORDER):
            causes.append(self.step.evidence)
        return f"{self.verdict}: {'; '.join(causes)}"


def compare_pair(a: Run, b: Run, *, across_topology: bool = False) -> Comparison:
    """Compare two runs by the `[expect.tolerance]` of A, or of B if A has none.

    With `across_topology`, compare what two topologies share instead of bits: global batch, samples
    seen and their order, initial weights, masks.

    Raises:
        ManifestError: A recorded `[expect]`, or a record of a trace, is not one.
    """
    x, y = a.manifest, b.manifest
    folders = a.folder, b.folder
    step, notes = first_step(a, b)
    reasons = list(_incomparable(a, b))
    if reasons:
        verdict: Verdict = "incomparable"
    elif across_topology:
        verdict, reasons = _across_topology(x, y, step, notes)
    else:
        verdict, reasons = _verdict(x, y, step)
    other = causes(x, y, step, folders)
    return Comparison(
        across_topology=across_topology,
        verdict=verdict,
        reasons=reasons,
        causes=[cause for cause in other if cause.rank != NOTE],
        harmless=[cause for cause in other if cause.rank == NOTE],
        outcome={
            path.removeprefix("outcome."): (p, q)
            for path, _, p, q in differing_leaves("outcome", x.outcome, y.outcome)
        },
        step=step,
        tensor=first_tensor(x.outcome, y.outcome, folders),
        notes=notes,
    )


def first_step(a: Run, b: Run) -> tuple[StepDifference | None, list[str]]:
    """Return the first differing step of two runs, and why it is not known."""
    if a.manifest.outcome.trace_digest == b.manifest.outcome.trace_digest:
        return None, []
    first, second = (
        Trace.load(run.folder / TRACE, run.manifest.outcome.trace_digest) for run in (a, b)
    )
    if first is None or second is None:
        missing = " and ".join(name for name, at in (("A", first), ("B", second)) if at is None)
        return None, [f"no trace of {missing} at hand: steps were not compared"]
    return first_difference(first, second), []


def out_of_tolerance(
    x: Manifest, y: Manifest, tolerance: Tolerance, step: StepDifference | None
) -> list[str]:
    """Return which metrics and losses of two outcomes are further apart than the tolerance."""
    failures = []
    if x.outcome.steps != y.outcome.steps:
        failures.append(f"steps: {x.outcome.steps} in A, {y.outcome.steps} in B")
    for group, first, second in (
        ("metrics", x.outcome.metrics, y.outcome.metrics),
        ("best_metrics", x.outcome.best_metrics, y.outcome.best_metrics),
    ):
        for name in {**first, **second}:
            if name not in first or name not in second:
                failures.append(f"{group}.{name} is in {'A' if name in first else 'B'} alone")
            elif not _near(p := float(first[name]), q := float(second[name]), tolerance):
                failures.append(f"{group}.{name}: {p!r} in A, {q!r} in B")
    if step is not None:
        for number, (p, q) in enumerate(zip(*step.losses, strict=False), step.number):
            if not _near(p, q, tolerance):
                failures.append(f"loss of step {number}: {p!r} in A, {q!r} in B")
                break
    return failures


def expectations(manifest: Manifest) -> Expect:
    """Return `[expect]` of a run's recipe; without one, nothing is expected.

    Raises:
        ManifestError: The values that the manifest has are none of a recipe.
    """
    values = manifest.inputs.recipe.values.get("expect") or {}
    try:
        return Expect.model_validate_json(canonical(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("expect", *first["loc"])))
        raise ManifestError(f"inputs.recipe.values.{place}: {first['msg']}") from error


def tolerance_of(*manifests: Manifest) -> Tolerance | None:
    """Return the first `[expect.tolerance]` that these runs' recipes have."""
    tolerances = (expectations(manifest).tolerance for manifest in manifests)
    return next((tolerance for tolerance in tolerances if tolerance is not None), None)


def _near(p: float, q: float, tolerance: Tolerance) -> bool:
    if math.isnan(p) and math.isnan(q):
        return True
    return math.isclose(p, q, rel_tol=tolerance.relative, abs_tol=tolerance.absolute)


def _incomparable(a: Run, b: Run) -> Iterator[str]:
    for name, run in (("A", a), ("B", b)):
        if run.status != "finished":
            yield f"{name} is {run.status}"
    stages = a.manifest.inputs.stage, b.manifest.inputs.stage
    if stages[0] != stages[1]:
        yield f"another stage: {stages[0]} in A, {stages[1]} in B"
        return
    other = other_tensors(a.manifest.outcome, b.manifest.outcome, (a.folder, b.folder))
    if other is not None:
        yield f"another set of tensors: {other}"


def _verdict(x: Manifest, y: Manifest, step: StepDifference | None) -> tuple[Verdict, list[str]]:
    if x.digests.outcome == y.digests.outcome:
        return "bitwise", []
    tolerance = tolerance_of(x, y)
    if tolerance is None:
        return "different", []
    failures = out_of_tolerance(x, y, tolerance, step)
    return ("different", failures) if failures else ("within tolerance", [])


def _across_topology(
    x: Manifest, y: Manifest, step: StepDifference | None, notes: list[str]
) -> tuple[Verdict, list[str]]:
    """Return whether two runs share what no topology changes, and what they do not share."""
    first, second = _shared_facts(x), _shared_facts(y)
    if not first or not second:
        return "incomparable", ["a run has no section `effective`"]
    unknown = [name for name in first if None in (*first[name], *second[name])]
    if notes:
        unknown.append("order of the samples")
    if unknown:
        return "incomparable", [f"not recorded: {', '.join(unknown)}"]
    other = [name for name in first if first[name] != second[name]]
    if step is not None and step.batches_from is not None:
        other.append(f"order of the samples from step {step.batches_from + 1}")
    reasons = [f"another {name}" for name in other]
    tolerance = tolerance_of(x, y)
    limit = ACROSS if tolerance is None else tolerance.relative
    if not reasons and step is not None and step.loss_difference > limit:
        reasons.append(f"losses {step.loss_difference:.2g} apart, relative; the limit is {limit:g}")
    return ("different" if reasons else "equal"), reasons


def _shared_facts(manifest: Manifest) -> dict[str, list[Any]]:
    """Return the facts that a run has on every topology, None where unknown; empty if not built.

    Later phases begin from weights that were trained, and differ by their rounding.
    """
    if manifest.effective is None:
        return {}
    trainings = manifest.effective.trainings()
    shared: dict[str, list[Any]] = {
        "global batch size": [training.global_batch_size or None for training in trainings],
        "samples": [manifest.outcome.samples or None],
        "initial weights": [trainings[0].initial_weights or None],
    }
    if manifest.inputs.stage != "evaluate":
        shared["masks"] = [training.masks for training in trainings]
    return shared
