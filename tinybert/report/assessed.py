"""What the predictions of a run show, ready for people: intervals, and wrong rows with texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinybert.compare.kept_predictions import kept_predictions
from tinybert.errors import InputError
from tinybert.manifest.document import Run
from tinybert.metrics.assessment import Assessment, Mistake, assess
from tinybert.metrics.entities import Span
from tinybert.metrics.intervals import Interval, wilson
from tinybert.report.texts import RowTexts


@dataclass(frozen=True)
class WrongRow:
    """A wrong row in words."""

    row: int
    size: float
    true: str
    """The true class or number, or the entities that were missed."""
    predicted: str
    """The predicted one, or the entities that are none."""
    text: str
    """Empty where texts are not at hand."""


class AssessedRun:
    """A run with the assessment of its predictions.

    Args:
        run: Any run; one that is no evaluation has neither predictions nor an assessment.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def assessment(self) -> Assessment | None:
        """The assessment of the run's predictions; None without any."""
        return self._assessed[0]

    @property
    def problem(self) -> str:
        """Why predictions that should be there were not assessed; mostly empty."""
        return self._assessed[1]

    @cached_property
    def _assessed(self) -> tuple[Assessment | None, str]:
        try:
            kept = kept_predictions(self.run)
            if kept is None:
                return None, ""
            task = self.run.manifest.inputs.recipe.values.get("task") or {}
            return assess(kept, task.get("task_type", "classification")), ""
        except InputError as error:
            return None, f"predictions not shown: {error.message}"

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The intervals of the run's metrics, by the names of `final_metrics`, as far as known.

        An evaluation has one of every metric, from its predictions; a training, which keeps none,
        has that of the accuracy, by the number of its rows.
        """
        if self.assessment is not None:
            return self.assessment.intervals
        values, built = self.run.manifest.inputs.recipe.values, self.run.manifest.effective
        task, data = values.get("task") or {}, values.get("data") or {}
        rows = built.rows.get("eval_data", 0) if built else 0
        by_rows = task.get("task_type") == "classification" and not data.get("eval_drop_remainder")
        if not rows or not by_rows or self.problem:
            return {}
        outcome = self.run.manifest.outcome
        accuracies = {"accuracy": outcome.metrics, "best accuracy": outcome.best_metrics}
        return {
            name: wilson(round(float(metrics["accuracy"]) * rows), rows)
            for name, metrics in accuracies.items()
            if "accuracy" in metrics and 0 <= float(metrics["accuracy"]) <= 1
        }

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """The wrong rows, the worst first."""
        return self.assessment.mistakes() if self.assessment is not None else []

    def wrong_rows(self, count: int) -> tuple[list[WrongRow], str]:
        """Return the worst rows in words, and why there are no texts; mostly that is empty."""
        worst = self.mistakes[:count]
        texts, why = self.texts([mistake.row for mistake in worst])
        return [self._in_words(mistake, texts) for mistake in worst], why

    def texts(self, rows: Sequence[int]) -> tuple[RowTexts | None, str]:
        """Return the texts of rows, or why they are not at hand."""
        try:
            return RowTexts.read(self.run, rows), ""
        except InputError as error:
            where = f" ({error.where})" if error.where else ""
            return None, f"texts not shown: {error.message}{where}"

    def entity_text(self, row: int, span: Span, texts: RowTexts | None) -> str:
        """Return an entity: its type, and its text or else the places of its words."""
        assert self.assessment is not None
        first, last, kind = span
        if texts is None:
            return f"{kind} {first}-{last}"
        tokens = np.flatnonzero(self.assessment.counted[row])
        return f"{kind} {texts.span(row, int(tokens[first]), int(tokens[last]))}"

    def _in_words(self, mistake: Mistake, texts: RowTexts | None) -> WrongRow:
        row = mistake.row
        missed, spurious = (
            "; ".join(self.entity_text(row, span, texts) for span in spans)
            for spans in (mistake.missed, mistake.spurious)
        )
        return WrongRow(
            row,
            mistake.size,
            mistake.true or missed,
            mistake.predicted or spurious,
            "" if texts is None else texts.text(row),
        )
