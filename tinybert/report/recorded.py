"""What a run recorded of its steps: the curves of its trace, its log and its pace."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinybert.compare.steps import StepDifference, relative_difference
from tinybert.errors import ManifestError
from tinybert.files import open_file
from tinybert.manifest.document import LOG, Run
from tinybert.manifest.pace import PACE, read_pace
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import Record, read_trace
from tinybert.report.curves import Curve
from tinybert.strict_json import parse_json

ROWS_A_SECOND = "rows a second"


@dataclass(frozen=True)
class Steps:
    """What a page shows of a run's steps."""

    curves: Mapping[str, Curve]
    """By the trace's names: `loss`, `parts.hidden_loss`, `learning_rate`..."""
    overflows: Sequence[int]
    """Steps whose gradients were not finite."""
    evaluations: Mapping[str, Curve]
    """Metrics over the steps done before them."""
    pace: Mapping[str, Curve]
    """Rows a second, and memory in megabytes, over the seconds of the training."""
    note: str
    """Why there are no curves, or what to know about them; mostly empty."""


def steps_of(run: Run) -> Steps:
    """Read a run's trace, the evaluations of its log, and its pace."""
    curves, overflows, note = _traced(run)
    return Steps(curves, overflows, _evaluations(run.folder / LOG), _pace(run.folder / PACE), note)


def _traced(run: Run) -> tuple[dict[str, Curve], list[int], str]:
    """Return curves and overflows of a run's trace, and a note about them.

    A trace that is missing, damaged or another run's leaves no curves, but a note.
    """
    path, outcome = run.folder / TRACE, run.manifest.outcome
    if not path.exists():
        trained = outcome.trace_digest is not None or outcome.steps > 0
        return {}, [], f"no trace at hand ({path})" if trained else "it left no trace of a step"
    try:
        curves, overflows, chain = _read(read_trace(path))
    except ManifestError as error:
        return {}, [], f"{error.message} ({error.where})"
    if not curves:
        return {}, [], "it left no trace of a step"
    if outcome.trace_digest is None:
        note = f"the run has no final trace: {len(curves['loss'].steps)} steps were written"
        return curves, overflows, note
    if outcome.trace_digest != chain:
        return {}, [], f"the trace at hand is not the one of this manifest ({path})"
    return curves, overflows, ""


def apart(step: StepDifference) -> Curve:
    """Return the relative difference of two runs' losses in every step in which they differ."""
    curve: tuple[array[int], array[float]] = array("q"), array("d")
    for number, (x, y) in enumerate(zip(*step.losses, strict=False), step.number):
        if difference := relative_difference(x, y):
            curve[0].append(number)
            curve[1].append(difference)
    return Curve(*curve)


def _read(records: Iterator[Record]) -> tuple[dict[str, Curve], list[int], str]:
    """Return the curves of a trace, the loss and its parts first, its overflows and its digest."""
    columns: dict[str, tuple[array[int], array[float]]] = {}
    overflows, chain = [], ""
    for record in records:
        chain = record.chain
        if record.overflow:
            overflows.append(record.global_step + 1)
        quantities = {
            "loss": record.loss,
            **{f"parts.{name}": value for name, value in record.parts.items()},
            "learning_rate": record.learning_rate,
            "gradient_norm": record.gradient_norm,
            "loss_scale": record.loss_scale,
        }
        for name, value in quantities.items():
            steps, values = columns.setdefault(name, (array("q"), array("d")))
            steps.append(record.global_step + 1)
            values.append(value)
    names = sorted(columns, key=lambda name: name != "loss" and not name.startswith("parts."))
    return {name: Curve(*columns[name]) for name in names}, overflows, chain


def _evaluations(path: Path) -> dict[str, Curve]:
    """Return the metrics of a log's evaluations, which are nowhere else.

    Of a step that was done twice, they are those of the later evaluation. Lines that are no
    evaluation, such as a torn one, are skipped.
    """
    metrics: dict[str, dict[int, float]] = {}
    try:
        with open_file(path) as log:
            lines = [line for line in log if b'"evaluation"' in line]
    except OSError:
        return {}
    for line in lines:
        try:
            event = parse_json(line)
        except ValueError:
            continue
        if not isinstance(event, dict) or event.get("event") != "evaluation":
            continue
        step = event.pop("step", None)
        for name, value in event.items() if isinstance(step, int) else ():
            if isinstance(value, int | float):
                metrics.setdefault(name, {})[step] = float(value)
    return {name: Curve(*zip(*sorted(at.items()), strict=True)) for name, at in metrics.items()}


def _pace(path: Path) -> dict[str, Curve]:
    stretches = list(read_pace(path))
    if not stretches:
        return {}
    seconds = [each.seconds for each in stretches]
    return {
        ROWS_A_SECOND: Curve(seconds, [each.samples_per_second for each in stretches]),
        "memory in MB": Curve(seconds, [each.resident_bytes / 1e6 for each in stretches]),
    }
