"""Whether the metrics of an outcome are those that the recipe asks for, with the right values.

Those that are losses follow from the trace, those of an evaluation from its predictions. Of an
evaluation during a training the names are known alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isclose, isfinite
from pathlib import Path

from numpy import array_equal
from safetensors import SafetensorError

from tinybert.compare.kept_predictions import kept_predictions
from tinybert.data.labels import decode_labels
from tinybert.errors import InputError
from tinybert.files import open_safetensors, read_file
from tinybert.manifest.document import Run
from tinybert.manifest.model import Number
from tinybert.metrics.answers import answer_metrics
from tinybert.metrics.entities import ENTITY_METRICS
from tinybert.metrics.metrics import metric_names, predicted_labels, task_metrics
from tinybert.metrics.predictions import LINES_FILE, Predictions
from tinybert.recipe.model import AnyRecipe, Evaluate, GeneralDistill, TaskDistill
from tinybert.recipe.tables import Task

SUMS = ("pearson", "spearman")
"""Metrics that earlier versions of this program added up as the processor does."""
CLOSE = 1e-12
"""How far these may be apart, relative and absolute."""


def metric_problems(
    run: Run, recipe: AnyRecipe, losses: Mapping[str, float] | None
) -> Iterator[str]:
    """Yield which metrics of a run that has ended are missing, too many or wrong.

    Args:
        run: The run.
        recipe: Its recipe.
        losses: The metrics that are losses, by the trace; None where that is not here.
    """
    outcome = run.manifest.outcome
    measured = _measured_names(run, recipe, losses) if outcome.status == "finished" else []
    expected = {*(losses or {}), *measured}
    known = expected if losses is not None else {*expected, *outcome.metrics}
    yield from _other_names("outcome.metrics", outcome.metrics, expected, known)
    for name, value in (losses or {}).items():
        if name in outcome.metrics:
            yield from _other_value(name, outcome.metrics[name], value, "the trace")
    if outcome.best_step is not None or outcome.best_metrics:
        names = set(_task_metrics(run, recipe))
        yield from _other_names("outcome.best_metrics", outcome.best_metrics, names, names)
    if isinstance(recipe, Evaluate):
        if outcome.status == "finished" and run.folder.is_dir():
            yield from _evaluation_problems(run, recipe)
    elif outcome.status == "finished":
        yield from _best_problems(run, recipe)


def _measured_names(
    run: Run, recipe: AnyRecipe, losses: Mapping[str, float] | None
) -> Iterable[str]:
    """Return the metrics of a finished run that are no losses of its training."""
    if not isinstance(recipe, GeneralDistill):
        return _task_metrics(run, recipe)
    if recipe.data.eval_data_dir is None:
        return []
    return [f"eval_{name}" for name in losses or {} if not name.startswith("mean_")]


def _task_metrics(run: Run, recipe: AnyRecipe) -> list[str]:
    """Return the metrics of a run's task, if its recipe measures one."""
    if isinstance(recipe, GeneralDistill) or (
        isinstance(recipe, TaskDistill) and recipe.phase2 is None
    ):
        return []
    task = recipe.task
    return metric_names(task.task_type, task.num_labels, tags=_knows_labels(run))


def _knows_labels(run: Run) -> bool:
    """Return whether a run knew its label names: by its last checkpoint, if that can be read."""
    outcome = run.manifest.outcome
    if outcome.checkpoints:
        try:
            with open_safetensors(run.folder / outcome.checkpoints[-1].file) as file:
                if metadata := file.metadata():
                    return decode_labels(metadata) is not None
        except (SafetensorError, OSError):  # it is reported where outputs are compared
            pass
    return not outcome.metrics.keys().isdisjoint(ENTITY_METRICS)


def _other_names(
    path: str, recorded: Mapping[str, Number], expected: set[str], known: set[str]
) -> Iterator[str]:
    for name in sorted(expected - recorded.keys()):
        yield f"{path}.{name} is missing; the recipe has it"
    for name in sorted(recorded.keys() - known):
        yield f"{path}.{name} is there; the recipe has no such metric"


def _other_value(name: str, recorded: Number, value: float, source: str) -> Iterator[str]:
    if recorded.hex == value.hex():
        return
    if name in SUMS and isclose(float(recorded), value, rel_tol=CLOSE, abs_tol=CLOSE):
        return
    yield f"outcome.metrics.{name} is {recorded.hex!r}; {source} gives {value.hex()!r}"


def _evaluation_problems(run: Run, recipe: Evaluate) -> Iterator[str]:
    """Yield how the metrics of an evaluation differ from those of its predictions."""
    outcome, task = run.manifest.outcome, recipe.task
    if not outcome.checkpoints:
        return
    file = outcome.checkpoints[-1].file
    try:
        saved = kept_predictions(run)
        if saved is None:
            return
        metrics = _metrics(task, saved)
    except InputError as error:
        yield f"{file}: {error.message}"
        return
    if not array_equal(predicted_labels(task.task_type, saved.logits), saved.predictions):
        yield f"{file}: the predictions are not those of the logits"
    if len(saved.logits) != outcome.samples:
        yield f"outcome.samples is {outcome.samples}; {file} has {len(saved.logits)} rows"
    for name, value in metrics.items():
        if name in outcome.metrics:
            yield from _other_value(name, outcome.metrics[name], value, "its predictions' file")
    if saved.task_type is not None:
        yield from _other_lines(run.folder / LINES_FILE, saved.lines())


def _metrics(task: Task, saved: Predictions) -> dict[str, float]:
    """Return the metrics of predictions; of answers, those of their scores."""
    if task.task_type == "question_answering" and saved.scores is not None:
        return answer_metrics(saved.scores)
    return task_metrics(
        task.task_type,
        task.assessment_method,
        saved.predictions,
        saved.label_ids,
        num_labels=task.num_labels,
        label_names=saved.label_names,
    )


def _other_lines(path: Path, lines: bytes) -> Iterator[str]:
    try:
        if read_file(path, len(lines) + 1) != lines:
            yield f"{path.name}: other predictions"
    except OSError as error:
        yield f"{path.name}: {(error.strerror or str(error)).lower()}"


def _best_problems(run: Run, recipe: AnyRecipe) -> Iterator[str]:
    """Yield how the best evaluation of a finished training contradicts the last one."""
    outcome, names = run.manifest.outcome, _task_metrics(run, recipe)
    if not names or isinstance(recipe, GeneralDistill):
        return
    method = recipe.task.assessment_method
    last, best = outcome.metrics.get(method), outcome.best_metrics.get(method)
    if last is None or not isfinite(float(last)) or outcome.nonfinite_losses:
        return
    if outcome.best_step is None or outcome.best_checkpoint is None:
        yield "outcome.best_step or outcome.best_checkpoint is None; the recipe chooses a best step"
    elif best is not None and not float(best) >= float(last):
        yield f"outcome.best_metrics.{method} is {float(best)!r}, below that of the last step"
