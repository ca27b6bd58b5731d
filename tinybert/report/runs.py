"""A table of runs: the command `runs`."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinybert.errors import ManifestError
from tinybert.files import relative_to_cwd
from tinybert.manifest.canonical import to_json
from tinybert.manifest.document import Run, newest_first
from tinybert.report.facts import duration, final_metrics, seconds_taken, unmet
from tinybert.report.table import as_table

Sort = Literal["time", "metric", "duration", "size"]
NO_METRIC = ("", None)


@dataclass(frozen=True)
class ListedRun:
    """A run as the table shows it."""

    name: str
    manifest: str
    stage: str
    status: str
    trial: bool
    """Whether it is a trial, which no link takes."""
    as_expected: bool
    """Whether it met its [expect]; true of a run that did not finish."""
    steps: int
    metric: str
    """The task's own, or the loss."""
    value: float | None
    metrics: dict[str, float]
    seconds: float | None
    """None while it is unknown."""
    bytes: int
    """On disk, of its folder."""


def runs(
    name: str,
    *,
    status: str | None,
    sort: Sort,
    format: Literal["text", "json"],
    root: Path,
) -> str:
    """Return a table of the runs whose names begin with `name`, the newest first.

    Manifests that cannot be read are named at the end.
    """
    listed, damaged = [], []
    took = {}
    for path in newest_first(root):
        if not path.name.startswith(name):
            continue
        try:
            run = Run.load(path)
        except ManifestError as error:
            damaged.append(f"not listed: {path.name}: {error.message}")
            continue
        if status in (None, run.status):
            listed.append(_listed(run))
            took[path.stem] = duration(run) or "-"
    listed.sort(key=_KEYS[sort])
    if format == "json":
        return json.dumps(to_json(listed), indent=2, allow_nan=False) + "\n"
    head = ("run", "stage", "status", "steps", "result", "took", "size")
    rows = [_row(each, took[each.name]) for each in listed]
    lines = list(as_table([head, *rows])) if rows else ["no runs"]
    return "\n".join([*lines, *damaged]) + "\n"


def main_metric(run: Run) -> tuple[str, float | None]:
    """Return the metric that a run is judged by: the task's own of its best evaluation, or a loss.

    Without any, its name is empty.
    """
    metrics = final_metrics(run)
    task = run.manifest.inputs.recipe.values.get("task") or {}
    own = str(task.get("assessment_method", ""))
    for name in (f"best {own}", own, "eval_loss", "mean_loss", "phase1_mean_loss"):
        if name in metrics:
            return name, metrics[name]
    return next(iter(metrics.items()), NO_METRIC)


def is_loss(metric: str) -> bool:
    """Return whether a smaller value of a metric is the better one."""
    return metric.endswith("loss")


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder; 0 if it is not there."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _listed(run: Run) -> ListedRun:
    metric, value = main_metric(run)
    return ListedRun(
        name=run.path.stem,
        manifest=relative_to_cwd(run.path),
        stage=run.manifest.inputs.stage,
        status=run.status,
        trial=run.manifest.inputs.trial,
        as_expected=not unmet(run),
        steps=run.manifest.outcome.steps,
        metric=metric,
        value=value,
        metrics=final_metrics(run),
        seconds=seconds_taken(run),
        bytes=folder_bytes(run.folder),
    )


def _row(each: ListedRun, took: str) -> tuple[str, ...]:
    status = f"{each.status}, trial" if each.trial else each.status
    if not each.as_expected:
        status += ", [expect] failed"
    result = "-" if each.value is None else f"{each.metric} {each.value:.4g}"
    steps = str(each.steps or "-")
    return each.name, each.stage, status, steps, result, took, size_text(each.bytes)


def _by_metric(each: ListedRun) -> tuple[str, float]:
    if each.value is None or math.isnan(each.value):
        return each.metric, math.inf
    return each.metric, each.value if is_loss(each.metric) else -each.value


_KEYS: dict[Sort, Callable[[ListedRun], tuple[str, float]]] = {
    "time": lambda each: ("", 0),
    "metric": _by_metric,
    "duration": lambda each: ("", -(each.seconds or 0)),
    "size": lambda each: ("", -each.bytes),
}
"""Keys by which runs, the newest first, are sorted again."""
