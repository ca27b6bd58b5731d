"""The verdict on two runs: bitwise, within tolerance, different, or incomparable."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinybert.compare.causes import NOTE, Cause, causes, differing_leaves
from tinybert.compare.steps import StepDifference, Trace, first_difference
from tinybert.compare.tensors import TensorDifference, first_tensor, other_tensors
from tinybert.manifest.document import read_manifest, run_directory, status
from tinybert.manifest.model import Effective, Manifest, Number
from tinybert.manifest.record import TRACE

ACROSS = 1e-3
"""How far losses across topologies may be apart, relative, where no recipe says so: the rounding of
sums in another order, which a long training makes larger."""
Verdict = Literal["bitwise", "within tolerance", "equal", "different", "incomparable"]
"""From best to none; `equal` is the best verdict across topologies."""


@dataclass(frozen=True)
class Run:
    """A manifest with where it is."""

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: Path) -> "Run":
        """Read a manifest.

        Raises:
            ManifestError: It is missing, or is no manifest.
        """
        return cls(path, read_manifest(path))

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return run_directory(self.path, self.manifest)

    @property
    def trace(self) -> Trace | None:
        """The trace, if it is at hand and the manifest's."""
        return Trace.load(self.folder / TRACE, self.manifest.outcome.trace_digest)


@dataclass(frozen=True)
class Comparison:
    """The answer of `diff`.

    Args:
        across_topology: Whether it compares what two topologies share instead of bits.
        verdict: On the outcomes alone.
        reasons: Why the runs are incomparable, what two topologies do not share, or what is out
            of tolerance.
        causes: What differs outside the outcomes, the most probable cause first.
        outcome: Differing facts of the outcomes, with both values.
        step: The first differing step.
        tensor: The first differing tensor.
        notes: What could not be looked at.
    """

    across_topology: bool
    verdict: Verdict
    reasons: list[str]
    causes: list[Cause]
    outcome: dict[str, tuple[Any, Any]]
    step: StepDifference | None
    tensor: TensorDifference | None
    notes: list[str]

    @property
    def cause(self) -> Cause | None:
        """The most probable cause, if anything that was recorded can be one."""
        return next((cause for cause in self.causes if cause.rank != NOTE), None)


def compare(a: Path, b: Path, *, across_topology: bool = False) -> Comparison:
    """Compare two runs.

    Args:
        a: A manifest; its `[expect.tolerance]` decides, or B's if it has none.
        b: Another one.
        across_topology: Compare what two topologies share instead of bits: global batch, samples
            seen and their order, initial weights, masks.

    Raises:
        ManifestError: A manifest is missing, or is none.
    """
    first, second = Run.load(a), Run.load(b)
    x, y = first.manifest, second.manifest
    folders = first.folder, second.folder
    step, notes = first_step(first, second)
    reasons = list(_incomparable(first, second))
    if reasons:
        verdict: Verdict = "incomparable"
    elif across_topology:
        verdict, reasons = _across_topology(x, y, step, notes)
    else:
        verdict, reasons = _verdict(x, y, step)
    return Comparison(
        across_topology=across_topology,
        verdict=verdict,
        reasons=reasons,
        causes=causes(x, y, step, folders),
        outcome={
            path.removeprefix("outcome."): (p, q)
            for path, _, p, q in differing_leaves("outcome", x.outcome, y.outcome)
        },
        step=step,
        tensor=first_tensor(x.outcome, y.outcome, folders),
        notes=notes,
    )


def first_step(a: Run, b: Run) -> tuple[StepDifference | None, list[str]]:
    """Return the first differing step of two runs, and what kept from looking for it."""
    if a.manifest.outcome.trace_digest == b.manifest.outcome.trace_digest:
        return None, []
    first, second = a.trace, b.trace
    if first is None or second is None:
        missing = " and ".join(name for name, at in (("A", first), ("B", second)) if at is None)
        return None, [f"no trace of {missing} at hand: steps were not compared"]
    return first_difference(first, second), []


def out_of_tolerance(
    x: Manifest, y: Manifest, tolerance: dict[str, float], step: StepDifference | None
) -> list[str]:
    """Return which metrics and losses of two outcomes are further apart than the tolerance."""
    failures = []
    if x.outcome.steps != y.outcome.steps:
        failures.append(f"steps: {x.outcome.steps} in A, {y.outcome.steps} in B")
    for group in ("metrics", "best_metrics"):
        first: dict[str, Number] = getattr(x.outcome, group)
        second: dict[str, Number] = getattr(y.outcome, group)
        for name in {**first, **second}:
            if name not in first or name not in second:
                failures.append(f"{group}.{name} is in {'A' if name in first else 'B'} alone")
            elif not _near(p := float(first[name]), q := float(second[name]), tolerance):
                failures.append(f"{group}.{name}: {p!r} in A, {q!r} in B")
    if step is not None:
        for number, (p, q) in enumerate(zip(*step.losses, strict=False), step.global_step):
            if not _near(p, q, tolerance):
                failures.append(f"loss of step {number}: {p!r} in A, {q!r} in B")
                break
    return failures


def tolerance_of(*manifests: Manifest) -> dict[str, float] | None:
    """Return the first `[expect.tolerance]` that these runs' recipes have."""
    for manifest in manifests:
        expect = manifest.inputs.recipe.values.get("expect") or {}
        if expect.get("tolerance"):
            return dict(expect["tolerance"])
    return None


def _near(p: float, q: float, tolerance: dict[str, float]) -> bool:
    if math.isnan(p) and math.isnan(q):
        return True
    return math.isclose(p, q, rel_tol=tolerance["relative"], abs_tol=tolerance["absolute"])


def _incomparable(a: Run, b: Run) -> Iterator[str]:
    for name, run in (("A", a), ("B", b)):
        state = status(run.path, run.manifest)
        if state != "finished":
            yield f"{name} is {state}"
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
    """Return whether two runs saw the same, and what they did not share."""
    if x.effective is None or y.effective is None:
        return "incomparable", ["a run has no section `effective`"]
    pairs = {
        "global batch size": tuple(
            _built(e, "global_batch_size") for e in (x.effective, y.effective)
        ),
        "samples": (x.outcome.samples, y.outcome.samples),
        "initial weights": tuple(_built(e, "initial_weights") for e in (x.effective, y.effective)),
    }
    if x.inputs.stage != "evaluate":
        pairs["masks"] = tuple(_built(e, "masks") for e in (x.effective, y.effective))
    unknown = [n for n, pair in pairs.items() if any(v is None or v == 0 for v in pair)]
    if notes:
        unknown.append("order of the samples")
    if unknown:
        return "incomparable", [f"not recorded: {', '.join(unknown)}"]
    other = [name for name, (p, q) in pairs.items() if p != q]
    if step is not None and step.batches_from is not None:
        other.append(f"order of the samples from step {step.batches_from}")
    reasons = [f"another {name}" for name in other]
    limit = (tolerance_of(x, y) or {"relative": ACROSS})["relative"]
    if not reasons and step is not None and step.loss_difference > limit:
        reasons.append(f"losses {step.loss_difference:.2g} apart, relative; the limit is {limit:g}")
    return ("different" if reasons else "equal"), reasons


def _built(effective: Effective, name: str) -> Any:
    """Return a fact of what was built, of each phase where there are several; None if unknown.

    Later phases begin from weights that were trained, and differ by their rounding.
    """
    facts = [phase.get(name) for phase in effective.phases.values()] or [getattr(effective, name)]
    if name == "initial_weights":
        facts = facts[:1]
    known = all(fact is not None and (fact or name == "masks") for fact in facts)
    return facts if known else None
