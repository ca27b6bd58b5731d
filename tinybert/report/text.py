"""Manifests and their comparison as text and JSON: the commands diff, show and lineage."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tinybert.compare.causes import Cause, exact_value
from tinybert.compare.tensors import TensorDifference
from tinybert.compare.verdict import Comparison, compare_pair
from tinybert.errors import at_most
from tinybert.manifest import exported
from tinybert.manifest.canonical import to_json
from tinybert.manifest.document import Run
from tinybert.report.assessed import AssessedRun
from tinybert.report.assessed_text import assessment_lines, paired_lines
from tinybert.report.facts import LISTED, code_text, final_metrics, kept_checkpoints, unmet
from tinybert.report.lineage import ParentLink, ancestors, parent_links
from tinybert.report.paired import pair_runs
from tinybert.report.runs import main_metric
from tinybert.report.table import as_table


def diff(
    a: Path,
    b: Path,
    *,
    require: Literal["bitwise", "tolerance"] = "bitwise",
    across_topology: bool = False,
    format: Literal["text", "json"] = "text",
) -> tuple[str, int]:
    """Compare two runs, as `compare_pair`; `require` is the least verdict that counts as the same.

    Returns:
        The report, whose first line is the verdict with the most probable cause, and the exit
        code: 0 the same, 1 different, 2 incomparable.

    Raises:
        ManifestError: A file is missing, or is no manifest.
    """
    runs = Run.load(a), Run.load(b)
    comparison = compare_pair(*runs, across_topology=across_topology)
    same = {"bitwise", "equal"} | ({"within tolerance"} if require == "tolerance" else set())
    code = {"incomparable": 2}.get(comparison.verdict, 0 if comparison.verdict in same else 1)
    paired = None
    if comparison.verdict in ("different", "within tolerance"):
        paired = pair_runs(*map(AssessedRun, runs))
    if format == "json":
        document = _document(comparison, a, b, code) | {"paired": to_json(paired)}
        return json.dumps(document, indent=2) + "\n", code
    lines = [*_diff_lines(comparison, a, b), *(paired_lines(paired, flips=False) if paired else [])]
    return "\n".join(lines) + "\n", code


def show(manifest: Path) -> tuple[str, int]:
    """Return a manifest for people, and exit code 0.

    Raises:
        ManifestError: The file is missing, or is no manifest.
    """
    run = Run.load(manifest)
    inputs, outcome, volatile = run.manifest.inputs, run.manifest.outcome, run.manifest.volatile
    rows = [
        ("status", run.status),
        ("recipe", f"{inputs.recipe.path} {' '.join(inputs.recipe.overrides)}".rstrip()),
        ("stage", inputs.stage),
        ("seed", str(inputs.recipe.values.get("seed"))),
        ("code", code_text(run)),
    ]
    rows += [(file.role, f"{file.path} ({file.size} bytes)") for file in inputs.files]
    rows += [("parent", f"{parent.manifest} ({parent.role})") for parent in inputs.parents]
    if environment := run.manifest.environment:
        versions = f"{environment.python}, MindSpore {environment.mindspore.version}"
        rows.append(("environment", f"{versions}, {environment.cpu.model}"))
    if inputs.trial:
        rows.append(("trial", "no link takes it"))
    if inputs.stage != "evaluate":
        rows.append(("steps", f"{outcome.steps}, {outcome.optimizer_steps} updates"))
    assessed = AssessedRun(run)
    for name, value in final_metrics(run).items():
        interval = assessed.intervals.get(name)
        rows.append((name, exact_value(value) + (f"  {interval}" if interval else "")))
    rows += [(name, checkpoint.file) for name, checkpoint in kept_checkpoints(run)]
    rows += [("[expect]", failure.message) for failure in unmet(run)]
    if error := outcome.error:
        rows.append(("error", f"{error.type}: {error.message}"))
        if error.rank is not None:
            rows.append(("process", f"{error.rank}, at step {error.step}"))
        rows += [("its log", line) for line in error.last_lines]
    rows += [("folder", volatile.directory), ("began", volatile.created)]
    rows.append(("ended", volatile.ended or "-"))
    rows.append(("segments", str(len(volatile.segments))))
    rows.append(("outcome", run.manifest.digests.outcome))
    lines = [str(manifest), *as_table(rows, indent=2), *assessment_lines(assessed)]
    return "\n".join(lines) + "\n", 0


def lineage(manifest: Path) -> tuple[str, int]:
    """Return the chain of runs that led to a run or an export, and 0, or 1 if a link is broken.

    Raises:
        ManifestError: The file is missing, or is neither a manifest nor an export's record.
    """
    if manifest.name == exported.RECORD_FILE:
        record = exported.Exported.load(manifest)
        first, source = f"{manifest}  {record.content.format}", record.content.source
        place = record.manifest()
        if source.manifest is None or source.outcome_digest is None or place is None:
            links = [(f"  network: {source.checkpoint}", "")]
        else:
            network = ParentLink("network", source.manifest, place, source.outcome_digest)
            links = list(_links(manifest, [network]))
    else:
        run = Run.load(manifest)
        first, links = _run_line(run), list(_links(manifest, parent_links(run)))
    broken = [problem for _, problem in links if problem]
    lines = [first, *(line for line, _ in links), *broken]
    return "\n".join(lines) + "\n", 1 if broken else 0


def _links(start: Path, links: Sequence[ParentLink]) -> Iterator[tuple[str, str]]:
    """Yield the line of each run that led to a run, and what is wrong with the link to it."""
    for each in ancestors(start, links):
        broken = f"broken: {each.name}: {each.problem}" if each.problem else ""
        named = each.name if each.run is None else _run_line(each.run)
        more = "  (see above)" if each.above else ""
        yield f"{'  ' * each.depth}{each.role}: {named}{more}", broken


def _run_line(run: Run) -> str:
    """Return a run in one line, with the metric that it is judged by; `show` has the others."""
    metric, value = main_metric(run)
    start = f"{run.path.stem}  {run.manifest.inputs.stage}  {run.status}"
    if value is None:
        return start
    outcome = run.manifest.outcome
    best = f", step {outcome.best_step} of {outcome.steps}" if metric.startswith("best ") else ""
    return f"{start}  {metric} {value:.6g}{best}"


def _diff_lines(comparison: Comparison, a: Path, b: Path) -> Iterator[str]:
    yield comparison.headline
    yield f"  A  {a}"
    yield f"  B  {b}"
    if comparison.verdict == "different" and not comparison.across_topology:
        yield from (f"  {reason}" for reason in comparison.reasons)
    if step := comparison.step:
        yield f"first differing step: {step.number} ({step.evidence})"
        yield from (f"  {line}" for line in _pair_lines(step.values))
        if all(step.losses):
            yield f"  largest relative difference of a step's loss: {step.loss_difference:.3g}"
    if comparison.tensor is not None:
        yield from _tensor_lines(comparison.tensor)
    yield from _block("outcome", _pair_lines(comparison.outcome))
    title = "differences without effect" if comparison.same else "causes, the most probable first"
    yield from _block(title, _cause_lines(comparison.causes))
    yield from _block("differences that cause nothing", _cause_lines(comparison.harmless))
    yield from (f"note: {note}" for note in comparison.notes)


def _pair_lines(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{k}: {exact_value(x)} in A, {exact_value(y)} in B" for k, (x, y) in pairs.items()]


def _cause_lines(causes: Sequence[Cause]) -> list[str]:
    return [cause.text for cause in causes]


def _block(title: str, lines: list[str]) -> list[str]:
    """Return a title and the first lines below it; nothing without lines."""
    return [title, *(f"  {line}" for line in at_most(LISTED, lines))] if lines else []


def _tensor_lines(tensor: TensorDifference) -> Iterator[str]:
    yield f"first differing tensor: {tensor.name} (checkpoint of step {tensor.step})"
    if tensor.absolute is not None and tensor.relative is not None:
        sizes = f"{tensor.absolute:.3g} absolute, {tensor.relative:.3g} relative"
        yield f"  largest difference: {sizes}"
    yield f"  {tensor.differing} of {tensor.tensors} tensors differ"


def _document(comparison: Comparison, a: Path, b: Path, code: int) -> dict[str, Any]:
    """Return the comparison as JSON."""
    step = comparison.step
    return {
        "verdict": comparison.verdict,
        "exit_code": code,
        "headline": comparison.headline,
        "a": str(a),
        "b": str(b),
        "reasons": comparison.reasons,
        "causes": [
            {"path": item.path, "class": item.kind, "a": item.a, "b": item.b, "text": item.text}
            for item in comparison.causes
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
        "outcome": {path: to_json(pair) for path, pair in comparison.outcome.items()},
        "notes": comparison.notes,
    }
