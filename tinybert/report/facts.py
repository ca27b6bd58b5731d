"""What a report says about each run beside its curves: facts, results, failure, what is behind."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from tinybert.compare.causes import format_value
from tinybert.compare.expectations import expectation_failures
from tinybert.compare.steps import relative_difference
from tinybert.compare.verdict import Run
from tinybert.manifest.document import LIVE, status
from tinybert.manifest.model import Number
from tinybert.report.markup import element, folded, html_table, items
from tinybert.report.text import lineage

LOOKS = {"finished": "good", "failed": "bad", "abandoned": "bad"}
"""How a status looks; others are open."""


def column_heads(runs: Sequence[Run]) -> list[str]:
    """Return the heads of a table with a column a run; none for a single run."""
    return ["", "A", "B"] if len(runs) > 1 else []


def ending(run: Run) -> tuple[str, str]:
    """Return how a run ended in one line, and how that looks."""
    state, outcome = status(run.path, run.manifest), run.manifest.outcome
    if outcome.error is not None:
        first = outcome.error.message.partition("\n")[0].rstrip(":")
        return f"{state}: {outcome.error.type}: {first}", LOOKS.get(state, "open")
    told = f"{state}: {outcome.steps} steps" if outcome.steps else state
    took = duration(run)
    return f"{told}{f' in {took}' if took else ''}", LOOKS.get(state, "open")


def facts_table(runs: Sequence[Run]) -> str:
    """Return what was run and what came of it; a row whose runs differ is marked."""
    return html_table(
        column_heads(runs), _columns([dict(_facts(run)) for run in runs]), differing=True
    )


def timing(runs: Sequence[Run]) -> str:
    """Return when and where, and how fast."""
    return html_table(column_heads(runs), _columns([dict(_circumstances(run)) for run in runs]))


def results(runs: Sequence[Run]) -> str:
    """Return every metric, of two runs with their difference."""
    columns = [_metrics(run) for run in runs]
    if len(columns) == 1:
        return html_table(["metric", "value"], [(name, repr(v)) for name, v in columns[0].items()])
    rows = []
    for name in {**columns[0], **columns[1]}:
        x, y = (column.get(name) for column in columns)
        row = [name, *("-" if value is None else repr(value) for value in (x, y))]
        if x is not None and y is not None:
            row += [f"{y - x:.4g}", f"{relative_difference(x, y):.3g}"]
        rows.append(row + ["-"] * (5 - len(row)))
    return html_table(["metric", "A", "B", "B - A", "relative"], rows)


def expectations(run: Run) -> str:
    """Return whether a finished run met its `[expect]`; nothing if there is none."""
    if not run.manifest.inputs.recipe.values.get("expect") or run.manifest.outcome.steps == 0:
        return ""
    if run.manifest.outcome.status != "finished":
        return ""
    failures = expectation_failures(run.path)
    if not failures:
        return element("p", "It met its [expect].")
    return element("p", "It did not meet its [expect]:") + items(failures)


def failure(run: Run) -> str:
    """Return the error of a run that failed, with the end of its log; nothing for others."""
    error = run.manifest.outcome.error
    if error is None:
        return ""
    rows: list[tuple[str, Any]] = [("error", error.type), ("message", error.message)]
    rows += [("process", error.rank)] if error.rank is not None else []
    rows += [("steps done", error.step)] if error.step is not None else []
    rows += [("exit code", error.exit_code)] if error.exit_code is not None else []
    log = element("pre", "\n".join(error.last_lines)) if error.last_lines else ""
    return html_table([], rows) + (element("p", "The end of its log:") + log if log else "")


def provenance(run: Run) -> str:
    """Return the runs, files, environment and recipe that a run is made of."""
    inputs, outcome, environment = (
        run.manifest.inputs,
        run.manifest.outcome,
        run.manifest.environment,
    )
    parents = [(parent.role, parent.stage, parent.manifest) for parent in inputs.parents]
    chain = element("pre", lineage(run.path)[0]) if parents else ""
    files = [(f.role, f.path, f.size, f.sha256) for f in inputs.files]
    kept = [(f"step {c.step}", c.file, c.tensor_digest) for c in outcome.checkpoints]
    if best := outcome.best_checkpoint:
        kept.append((f"best, step {best.step}", best.file, best.tensor_digest))
    libraries = environment.distributions.items() if environment else []
    recipe = inputs.recipe
    resolved = [(name, value, _origin(run, name)) for name, value in _leaves(recipe.values)]
    return "\n".join(
        [
            chain or element("p", "It read the result of no other run.", class_="faint"),
            folded("Files it read", html_table(["role", "path", "bytes", "SHA-256"], files)),
            folded("Checkpoints", html_table(["", "file", "tensor digest"], kept)),
            folded("Libraries", html_table(["library", "version"], libraries)),
            folded("Resolved recipe", html_table(["key", "value", "from"], resolved)),
            folded(f"Text of {recipe.path}", element("pre", recipe.text)),
        ]
    )


def duration(run: Run) -> str:
    """Return the time that a run's processes took; nothing while it is unknown."""
    segments, seconds = run.manifest.volatile.segments, 0.0
    for segment in segments:
        try:
            ended = datetime.fromisoformat((segment.ended or "").replace("Z", "+00:00"))
            began = datetime.fromisoformat(segment.started.replace("Z", "+00:00"))
        except ValueError:
            return ""  # killed: nobody wrote down when
        seconds += (ended - began).total_seconds()
    if not segments:
        return ""  # a reference
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _columns(found: Sequence[dict[str, str]]) -> Iterator[list[str]]:
    """Yield the rows of a table with a column for each of `found`."""
    for name in {name: None for column in found for name in column}:
        yield [name, *(column.get(name, "-") for column in found)]


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    manifest = run.manifest
    inputs, built = manifest.inputs, manifest.effective
    yield "status", status(run.path, manifest)
    yield "recipe", inputs.recipe.path
    if inputs.recipe.overrides:
        yield "changed by", " ".join(inputs.recipe.overrides)
    yield "stage", inputs.stage
    yield "seed", str(inputs.recipe.values.get("seed"))
    code = inputs.code
    yield "code", f"{code.commit or code.digest}{' with changes' if code.dirty else ''}"
    if built is not None:
        yield from ((f"parameters of {n}", f"{count:,}") for n, count in built.parameters.items())
        yield from ((f"rows of {name}", f"{count:,}") for name, count in built.rows.items())
        if built.global_batch_size is not None:
            yield "global batch", str(built.global_batch_size)
        if built.deviations:
            yield "other than the recipe", "; ".join(built.deviations)
    yield from _counts(run)
    if environment := manifest.environment:
        framework = environment.mindspore
        yield (
            "framework",
            f"MindSpore {framework.version} ({framework.commit}), {environment.python}",
        )
        yield "platform", environment.platform
        yield "processor", f"{environment.cpu.model} ({' '.join(environment.cpu.flags)})"
        yield "topology", _pairs(environment.topology)
        if environment.ascend:
            yield "Ascend", _pairs(environment.ascend)
        yield "threads", _pairs(environment.threads)
    yield "outcome", manifest.digests.outcome


def _counts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield what a run counted; a failed one has not written down all of it."""
    outcome, built = run.manifest.outcome, run.manifest.effective
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


def _circumstances(run: Run) -> Iterator[tuple[str, str]]:
    volatile = run.manifest.volatile
    yield "manifest", str(run.path)
    yield "folder", volatile.directory
    yield "command", " ".join(volatile.command)
    yield "host", ", ".join(dict.fromkeys(segment.host for segment in volatile.segments))
    yield "began", volatile.created
    yield "ended", volatile.ended or "-"
    yield "took", duration(run) or "-"
    resumed = [str(segment.first_step) for segment in volatile.segments[1:]]
    if resumed:
        yield "resumed after step", ", ".join(resumed)
    for name, value in {**volatile.throughput, **volatile.memory}.items():
        text = f"{value:,}" if isinstance(value, int) else format_value(value)
        yield name.replace("_", " "), f"{value:,.1f}" if isinstance(value, float) else text


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "-"


def _metrics(run: Run) -> dict[str, float]:
    outcome = run.manifest.outcome
    best: dict[str, Number] = {f"best {k}": value for k, value in outcome.best_metrics.items()}
    found = {name: float(value) for name, value in {**outcome.metrics, **best}.items()}
    return found | ({} if outcome.best_step is None else {"best step": outcome.best_step})


def _leaves(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted key and written value of every value of a recipe."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", format_value(value)


def _origin(run: Run, key: str) -> str:
    origin = run.manifest.inputs.recipe.origins.get(key)
    return "-" if origin is None else f"{origin.kind} {origin.place}"
