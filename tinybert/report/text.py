"""Manifests and their comparison as text and JSON: the commands diff, show and lineage."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tinybert.compare.causes import NOTE, ORDER, format_value
from tinybert.compare.steps import StepDifference
from tinybert.compare.tensors import TensorDifference
from tinybert.compare.verdict import Comparison, Run, compare
from tinybert.errors import ManifestError
from tinybert.manifest import exported
from tinybert.manifest.canonical import to_json
from tinybert.manifest.document import root_of, status
from tinybert.manifest.model import Number

LISTED = 20
"""Differences that are written out, of each kind."""


def diff(
    a: Path,
    b: Path,
    *,
    require: Literal["bitwise", "tolerance"] = "bitwise",
    across_topology: bool = False,
    format: Literal["text", "json"] = "text",
) -> tuple[str, int]:
    """Compare two runs.

    Args:
        a: A manifest.
        b: Another one.
        require: What counts as the same.
        across_topology: Compare what two topologies share instead of bits.
        format: Of the answer.

    Returns:
        The answer, whose first line is the verdict with the most probable cause, and the exit
        code: 0 the same, 1 different, 2 incomparable.

    Raises:
        ManifestError: A manifest is missing, or is none.
    """
    comparison = compare(a, b, across_topology=across_topology)
    same = {"bitwise", "equal"} | ({"within tolerance"} if require == "tolerance" else set())
    code = {"incomparable": 2}.get(comparison.verdict, 0 if comparison.verdict in same else 1)
    if format == "json":
        return json.dumps(_document(comparison, a, b, code), indent=2) + "\n", code
    return "\n".join(_lines(comparison, a, b)) + "\n", code


def headline(comparison: Comparison) -> str:
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
            parts.append(evidence(comparison.step))
    return f"{verdict}: {'; '.join(parts)}"


def show(path: Path) -> tuple[str, int]:
    """Return a manifest for people, and exit code 0.

    Raises:
        ManifestError: The manifest is missing, or is none.
    """
    run = Run.load(path)
    manifest = run.manifest
    inputs, outcome, volatile = manifest.inputs, manifest.outcome, manifest.volatile
    code = inputs.code
    rows: list[tuple[str, str]] = [
        ("status", status(path, manifest)),
        ("recipe", f"{inputs.recipe.path} {' '.join(inputs.recipe.overrides)}".rstrip()),
        ("stage", inputs.stage),
        ("seed", str(inputs.recipe.values.get("seed"))),
        ("code", f"{code.commit or code.digest}{' with changes' if code.dirty else ''}"),
    ]
    rows += [(file.role, f"{file.path} ({file.size} bytes)") for file in inputs.files]
    rows += [("parent", f"{parent.manifest} ({parent.role})") for parent in inputs.parents]
    if environment := manifest.environment:
        versions = f"{environment.python}, MindSpore {environment.mindspore.version}"
        rows.append(("environment", f"{versions}, {environment.cpu.model}"))
    rows.append(("steps", f"{outcome.steps}, {outcome.optimizer_steps} updates"))
    rows += [(name, _number(float(value))) for name, value in outcome.metrics.items()]
    rows += [(f"best {name}", _number(float(v))) for name, v in outcome.best_metrics.items()]
    rows += [(f"step {kept.step}", kept.file) for kept in outcome.checkpoints]
    if outcome.best_checkpoint:
        rows.append((f"best, step {outcome.best_checkpoint.step}", outcome.best_checkpoint.file))
    if outcome.error:
        error = outcome.error
        rows.append(("error", f"{error.type}: {error.message}"))
        if error.rank is not None:
            rows.append(("process", f"{error.rank}, at step {error.step}"))
        rows += [("its log", line) for line in error.last_lines]
    rows += [("folder", volatile.directory), ("began", volatile.created)]
    rows.append(("ended", volatile.ended or "-"))
    rows.append(("segments", str(len(volatile.segments))))
    rows.append(("outcome", manifest.digests.outcome))
    width = max(len(name) for name, _ in rows)
    return f"{path}\n" + "".join(f"  {name:{width}}  {text}\n" for name, text in rows), 0


def lineage(path: Path) -> tuple[str, int]:
    """Return the chain of runs behind a run or an export, and 0, or 1 if a link is broken.

    Raises:
        ManifestError: The manifest or the export's record is missing, or is none.
    """
    if path.name == exported.NAME:
        record = exported.Exported.load(path)
        lines = [f"{path}  {record.content['format']}"]
        broken = list(_exported(record, lines))
    else:
        run = Run.load(path)
        lines = [_line(run)]
        broken = list(_ancestors(run, 1, lines))
    return "\n".join([*lines, *broken]) + "\n", 1 if broken else 0


def _exported(record: exported.Exported, lines: list[str]) -> Iterator[str]:
    """Add the lines of the run behind an export, if there was one, and of its parents."""
    source = record.source
    if "manifest" in source:
        place = record.manifest()
        yield from _ancestor(
            "network", source["manifest"], place, source["outcome_digest"], 1, lines
        )
    else:
        lines.append(f"  network: {source['checkpoint']}")


def _ancestors(run: Run, depth: int, lines: list[str]) -> Iterator[str]:
    """Add the lines of a run's parents; yield what is wrong with them."""
    for parent in run.manifest.inputs.parents:
        place = root_of(run.path, run.manifest) / parent.manifest
        yield from _ancestor(
            parent.role, parent.manifest, place, parent.outcome_digest, depth, lines
        )


def _ancestor(
    role: str, name: str, place: Path, outcome_digest: str, depth: int, lines: list[str]
) -> Iterator[str]:
    """Add the lines of a run that was linked to, and of its parents; yield what is wrong."""
    indent = "  " * depth
    try:
        found = Run.load(place)
    except ManifestError as error:
        lines.append(f"{indent}{role}: {name}")
        yield f"broken: {name}: {error.message}"
        return
    lines.append(f"{indent}{role}: {_line(found)}")
    if found.manifest.digests.outcome != outcome_digest:
        yield f"broken: {name}: its outcome is not the one that was used"
    yield from _ancestors(found, depth + 1, lines)


def _line(run: Run) -> str:
    """Return a run in one line, with the metrics of the checkpoint that other runs take from it."""
    manifest, outcome = run.manifest, run.manifest.outcome
    metrics, best = outcome.metrics, ""
    if outcome.best_metrics:
        metrics, best = outcome.best_metrics, f"best, step {outcome.best_step} of {outcome.steps}: "
    shown_metrics = ", ".join(f"{name} {float(value):.6g}" for name, value in metrics.items())
    state = status(run.path, manifest)
    return f"{run.path.name}  {manifest.inputs.stage}  {state}  {best}{shown_metrics}".rstrip()


def _lines(comparison: Comparison, a: Path, b: Path) -> Iterator[str]:
    yield headline(comparison)
    yield f"  A  {a}"
    yield f"  B  {b}"
    if comparison.verdict == "different" and not comparison.across_topology:
        yield from (f"  {reason}" for reason in comparison.reasons)
    if comparison.step is not None:
        yield from _step_lines(comparison.step)
    if comparison.tensor is not None:
        yield from _tensor_lines(comparison.tensor)
    if comparison.outcome:
        yield "outcome"
        yield from _cut(
            [
                f"  {path}: {value_text(x)} in A, {value_text(y)} in B"
                for path, (x, y) in comparison.outcome.items()
            ]
        )
    causes = [cause.text for cause in comparison.causes if cause.rank != NOTE]
    notes = [cause.text for cause in comparison.causes if cause.rank == NOTE]
    if causes:
        without = comparison.verdict in ("bitwise", "equal")
        yield "differences without effect" if without else "causes, the most probable first"
        yield from _cut([f"  {text}" for text in causes])
    if notes:
        yield "differences that cause nothing"
        yield from _cut([f"  {text}" for text in notes])
    yield from (f"note: {note}" for note in comparison.notes)


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - LISTED
    return [*lines[:LISTED], f"  and {more} more"] if more > 0 else lines


def evidence(step: StepDifference) -> str:
    """Return what the first differing step tells about the cause."""
    if step.ended:
        return f"{step.ended} ends before step {step.global_step}"
    if not step.other_data:
        return f"other arithmetic on equal batches from step {step.global_step}"
    if step.same_batches:
        return f"the same batches in another order from step {step.global_step}"
    return f"other batches from step {step.global_step}"


def _step_lines(step: StepDifference) -> Iterator[str]:
    yield f"first differing step: {step.global_step} ({evidence(step)})"
    for name, (x, y) in step.values.items():
        yield f"  {name}: {value_text(x)} in A, {value_text(y)} in B"
    if step.losses[0] and step.losses[1]:
        yield f"  largest relative difference of a step's loss: {step.loss_difference:.3g}"


def _tensor_lines(tensor: TensorDifference) -> Iterator[str]:
    yield f"first differing tensor: {tensor.name} (checkpoint of step {tensor.step})"
    if tensor.absolute is not None and tensor.relative is not None:
        sizes = f"{tensor.absolute:.3g} absolute, {tensor.relative:.3g} relative"
        yield f"  largest difference: {sizes}"
    yield f"  {tensor.differing} of {tensor.tensors} tensors differ"


def value_text(value: Any) -> str:
    """Return a value of a manifest or a trace in one line, numbers exact."""
    if isinstance(value, Number):
        return _number(float(value))
    return _number(value) if isinstance(value, float) else format_value(value)


def _number(value: float) -> str:
    return f"{value!r} ({value.hex()})"


def _document(comparison: Comparison, a: Path, b: Path, code: int) -> dict[str, Any]:
    """Return the comparison as JSON knows it."""
    step = comparison.step
    return {
        "verdict": comparison.verdict,
        "exit_code": code,
        "headline": headline(comparison),
        "a": str(a),
        "b": str(b),
        "reasons": comparison.reasons,
        "causes": [
            {"path": item.path, "class": item.kind, "a": item.a, "b": item.b, "text": item.text}
            for item in comparison.causes
            if item.rank != NOTE
        ],
        "step": step
        and {
            "global_step": step.global_step,
            "values": to_json(step.values),
            "ended": step.ended,
            "other_data": step.other_data,
            "batches_from": step.batches_from,
            "same_batches": step.same_batches,
            "loss_difference": to_json(step.loss_difference),
        },
        "tensor": comparison.tensor and to_json(asdict(comparison.tensor)),
        "outcome": {
            path: [item.model_dump() if isinstance(item, Number) else item for item in pair]
            for path, pair in comparison.outcome.items()
        },
        "notes": comparison.notes,
    }
