"""The curves of a report: a chart a quantity, what is marked in it, and the same in numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tinybert.compare.verdict import Comparison, Run
from tinybert.report.chart import Line, Mark, chart
from tinybert.report.curves import BUCKETS, Curve, Steps, apart
from tinybert.report.markup import element, escaped, folded, html_table, run_key

NAMES = "ab"
"""Of the lines, in the order of the runs."""


def curves(
    runs: Sequence[Run], steps: Sequence[Steps], comparison: Comparison | None
) -> Iterator[str]:
    """Yield the charts of what the traces hold.

    Args:
        runs: One or two.
        steps: Of each run.
        comparison: Of two runs.
    """
    for name, found in zip("AB", steps, strict=False):
        if found.note:
            told = f"{name}: {found.note}." if len(runs) > 1 else f"{found.note}."
            yield element("p", told[:1].upper() + told[1:], class_="faint")
    found_curves = [found.curves for found in steps]
    drawn = [curve for found in found_curves for curve in found.values()]
    if not drawn:
        return
    reach = _reach(drawn)
    marks = list(_marks(runs, comparison))
    for number, (name, lines) in enumerate(_lines(found_curves).items()):
        if name == "loss_scale":
            lines = [
                replace(line, events=steps[NAMES.index(line.name)].overflows) for line in lines
            ]
        yield _figure(f"curve-{number}", _title(name), lines, reach, marks)
    if comparison is not None and comparison.step is not None:
        difference = apart(comparison.step)
        if difference.steps:
            title = "relative difference of the losses, where they differ"
            yield _figure("apart", title, [Line("apart", difference)], reach, marks)
    if any(len(curve.steps) > BUCKETS for curve in drawn):
        told = "A long curve is the mean of neighbouring steps, within the band of their values."
        yield element("p", told, class_="faint")
    yield _in_numbers(found_curves)


def evaluations(runs: Sequence[Run], steps: Sequence[Steps]) -> Iterator[str]:
    """Yield the charts and the numbers of the evaluations between the steps, as the logs say."""
    found = [each.evaluations for each in steps]
    lines = _lines(found)
    if not lines:
        return
    everything = [
        curve for each in [*found, *(at.curves for at in steps)] for curve in each.values()
    ]
    reach = _reach(everything)
    marks = [
        Mark(run.manifest.outcome.best_step, f"best{f' of {name}' if len(runs) > 1 else ''}")
        for name, run in zip("AB", runs, strict=False)
        if run.manifest.outcome.best_step is not None
    ]
    for number, (name, each) in enumerate(lines.items()):
        yield _figure(f"evaluation-{number}", _title(name), each, reach, marks, dots=True)
    rows = [
        [f"{_title(name)}{_of(line)}", step, repr(value)]
        for name, each in lines.items()
        for line in each
        for step, value in zip(line.curve.steps, line.curve.values, strict=True)
    ]
    yield folded("Every evaluation", html_table(["metric", "after steps", "value"], rows))


def _lines(found: Sequence[Mapping[str, Curve]]) -> dict[str, list[Line]]:
    """Return the curves of the runs by quantity."""
    lines: dict[str, list[Line]] = {}
    for run, each in zip(NAMES, found, strict=False):
        for name, curve in each.items():
            title = run.upper() if len(found) > 1 else ""
            lines.setdefault(name, []).append(Line(run, curve, run=title))
    return lines


def _reach(found: Sequence[Curve]) -> tuple[int, int]:
    return min(curve.steps[0] for curve in found), max(curve.steps[-1] for curve in found)


def _marks(runs: Sequence[Run], comparison: Comparison | None) -> Iterator[Mark]:
    """Yield where two runs part; of a single run, where it was resumed and where phases begin."""
    if comparison is not None:
        if comparison.step is not None:
            yield Mark(comparison.step.global_step, "first difference")
        return
    manifest = runs[0].manifest
    for segment in manifest.volatile.segments[1:]:
        yield Mark(segment.first_step, "resumed")
    before = 0
    for name, phase in (manifest.effective.phases if manifest.effective else {}).items():
        if before:
            yield Mark(before, name)
        before += int(phase.get("total_steps") or 0)


def _figure(
    identity: str,
    title: str,
    lines: Sequence[Line],
    reach: tuple[int, int],
    marks: Sequence[Mark],
    *,
    dots: bool = False,
) -> str:
    caption = escaped(title)
    for line in lines:
        if line.run:
            caption += f" &#160; {run_key(line.run)}{', dashed' if line.name == 'b' else ''}"
    if overflows := sum(len(line.events) for line in lines):
        caption += f" &#160; strokes on the axis: {overflows} overflows"
    svg = chart(identity, title, lines, reach=reach, marks=marks, dots=dots)
    return f"<figure><figcaption>{caption}</figcaption>\n{svg}</figure>"


def _in_numbers(found: Sequence[Mapping[str, Curve]]) -> str:
    """Return the curves in words, for those who do not see them."""
    rows = []
    for name, lines in _lines(found).items():
        for line in lines:
            title, extent = f"{_title(name)}{_of(line)}", line.curve.extent
            lost = str(len(line.curve.lost))
            if extent is None:
                rows.append([title, "-", "-", "-", "-", lost])
                continue
            turns = (
                f"{value:.6g} (step {step})" for value, step in (extent.least, extent.greatest)
            )
            least, greatest = turns
            rows.append(
                [title, f"{extent.first[0]:.6g}", least, greatest, f"{extent.last[0]:.6g}", lost]
            )
    return html_table(["", "first", "least", "greatest", "last", "not finite"], rows)


def _of(line: Line) -> str:
    return f" of {line.run}" if line.run else ""


def _title(name: str) -> str:
    return name.removeprefix("parts.").replace("_", " ")
