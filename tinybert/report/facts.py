"""Facts about a run as plain data, for the terminal and the page alike."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from tinybert.compare.causes import format_value
from tinybert.compare.expectations import ExpectationFailure, expectation_failures
from tinybert.manifest.document import LIVE, Run, parse_utc
from tinybert.manifest.model import Checkpoint, MemoryFacts, ThroughputFacts
from tinybert.recipe.load import leaves

Row = tuple[str, ...]
"""A row of a table; its name comes first."""
LISTED = 20
"""Differences of each kind that are shown at once."""


def code_text(run: Run) -> str:
    """Return which program ran."""
    code = run.manifest.inputs.code
    return f"{code.commit or code.digest}{' with changes' if code.dirty else ''}"


def final_metrics(run: Run) -> dict[str, float]:
    """Return every metric of a run, those of its best evaluation after the final ones."""
    outcome = run.manifest.outcome
    metrics = {name: float(value) for name, value in outcome.metrics.items()}
    return metrics | {f"best {name}": float(v) for name, v in outcome.best_metrics.items()}


def kept_checkpoints(run: Run) -> list[tuple[str, Checkpoint]]:
    """Return the checkpoints that a run left, each with its name; the best one comes last.

    That of an evaluation holds its predictions.
    """
    outcome = run.manifest.outcome
    if run.manifest.inputs.stage == "evaluate":
        return [("predictions", checkpoint) for checkpoint in outcome.checkpoints]
    kept = [(f"step {checkpoint.step}", checkpoint) for checkpoint in outcome.checkpoints]
    best = outcome.best_checkpoint
    return kept if best is None else [*kept, (f"best, step {best.step}", best)]


def unmet(run: Run) -> list[ExpectationFailure]:
    """Return which expectations a run that finished fails; of other runs, none."""
    return expectation_failures(run) if run.status == "finished" else []


def ending(run: Run) -> str:
    """Return how a run ended, in one line."""
    outcome = run.manifest.outcome
    if outcome.error is not None:
        first_line = outcome.error.message.partition("\n")[0].rstrip(":")
        return f"{run.status}: {outcome.error.type}: {first_line}"
    took = duration(run)
    steps = f": {outcome.steps} steps" if outcome.steps else ""
    but = ", but not as its [expect] says" if unmet(run) else ""
    return f"{run.status}{steps}{f' in {took}' if took else ''}{but}"


def seconds_taken(run: Run) -> float | None:
    """Return the time that a run's processes took; None while it is unknown."""
    segments, seconds = run.manifest.volatile.segments, 0.0
    for segment in segments:
        began, ended = parse_utc(segment.started), parse_utc(segment.ended)
        if began is None or ended is None:
            return None  # killed: its end is not recorded
        seconds += max(0.0, (ended - began).total_seconds())  # the clock may go back
    return seconds if segments else None  # of a reference, none are kept


def duration(run: Run) -> str:
    """Return the time that a run's processes took, for people; empty while it is unknown."""
    seconds = seconds_taken(run)
    if seconds is None:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def describe_run(run: Run) -> Iterator[tuple[str, str]]:
    """Yield name and text of what was run and how far it came."""
    inputs, built = run.manifest.inputs, run.manifest.effective
    yield "status", run.status
    yield "recipe", inputs.recipe.path
    if inputs.recipe.overrides:
        yield "changed by", " ".join(inputs.recipe.overrides)
    yield "stage", inputs.stage
    yield "seed", str(inputs.recipe.values.get("seed"))
    yield "code", code_text(run)
    if built is not None:
        yield from ((f"parameters of {n}", f"{count:,}") for n, count in built.parameters.items())
        yield from ((f"rows of {name}", f"{count:,}") for name, count in built.rows.items())
        if built.global_batch_size is not None:
            yield "global batch", str(built.global_batch_size)
        if built.deviations and built.deviations != inputs.recipe.overrides:
            yield "other than the recipe", "; ".join(built.deviations)
    yield from _counts(run)
    if environment := run.manifest.environment:
        framework = f"MindSpore {environment.mindspore.version} ({environment.mindspore.commit})"
        yield "framework", f"{framework}, {environment.python}"
        yield "platform", environment.platform
        yield "processor", f"{environment.cpu.model} ({' '.join(environment.cpu.flags)})"
        yield "topology", _pairs(asdict(environment.topology))
        if environment.ascend:
            yield "Ascend", _pairs(environment.ascend)
        yield "threads", _pairs(asdict(environment.threads))
    yield "outcome", run.manifest.digests.outcome


def timing(run: Run) -> Iterator[tuple[str, str]]:
    """Yield name and text of when and where a run took place, and how fast."""
    volatile = run.manifest.volatile
    yield "manifest", str(run.path)
    yield "folder", volatile.directory
    yield "command", " ".join(volatile.command)
    yield "host", ", ".join(dict.fromkeys(segment.host for segment in volatile.segments))
    yield "began", volatile.created
    yield "ended", volatile.ended or "-"
    yield "took", duration(run) or "-"
    if resumed := [str(segment.first_step) for segment in volatile.segments[1:]]:
        yield "resumed after step", ", ".join(resumed)
    if isinstance(volatile.throughput, ThroughputFacts):
        yield "samples per second", f"{volatile.throughput.samples_per_second:,.1f}"
    if isinstance(volatile.memory, MemoryFacts):
        yield "peak resident bytes", f"{volatile.memory.peak_resident_bytes:,}"


def resolved_recipe(run: Run) -> Iterator[Row]:
    """Yield dotted key, value and origin of every value of a run's recipe."""
    recipe = run.manifest.inputs.recipe
    for path, value in leaves(recipe.values):
        key = ".".join(path)
        origin = recipe.origins.get(key)
        yield key, format_value(value), f"{origin.kind} {origin.place}" if origin else "-"


def _counts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield what a run counted; a failed one has not recorded all of it."""
    outcome, built = run.manifest.outcome, run.manifest.effective
    if run.manifest.inputs.stage == "evaluate":
        yield "rows evaluated", f"{outcome.samples:,}"
        return
    planned = f" of {built.total_steps}" if built and built.total_steps else ""
    if outcome.status in LIVE or (outcome.error is not None and outcome.trace_digest is None):
        yield "steps", f"unknown{planned}"
        return
    yield "steps", f"{outcome.steps}{planned}"
    if outcome.error is None:
        yield "updates", str(outcome.optimizer_steps)
        yield "rows trained on", f"{outcome.samples:,}"
    yield "overflows", str(outcome.overflows)
    yield "losses not finite", str(outcome.nonfinite_losses)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "-"
