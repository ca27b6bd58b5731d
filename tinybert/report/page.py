"""One run, or two compared, as one HTML page without scripts or other files: the command report.

`page.html.jinja` lays the page out, `page.css` says how it looks.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tinybert.atomic import write_bytes
from tinybert.compare.causes import exact_value
from tinybert.compare.steps import relative_difference
from tinybert.compare.verdict import Comparison, compare_pair
from tinybert.compare.verify import expectation_failures
from tinybert.errors import UsageError
from tinybert.manifest.document import Run
from tinybert.report.curves import BUCKETS, Steps, steps_of
from tinybert.report.facts import (
    LISTED,
    Row,
    describe_run,
    ending,
    final_metrics,
    kept_checkpoints,
    resolved_recipe,
    timing,
    unmet,
)
from tinybert.report.figures import (
    NUMBERS,
    curve_rows,
    evaluation_figures,
    evaluation_rows,
    step_figures,
)
from tinybert.report.text import lineage

FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that HTML and XML cannot hold, such as a terminal's colours in a log."""
LOOKS = {
    **{"finished": "good", "failed": "bad", "abandoned": "bad"},
    **{"bitwise": "good", "equal": "good", "within tolerance": "good", "different": "bad"},
}
"""How a status and a verdict look; others are open."""


def report(
    manifest: Path, other: Path | None, *, output: Path | None, force: bool
) -> tuple[str, int]:
    """Write the page about a run, or about two compared; by default it is named after the runs.

    Returns:
        The page's path, and exit code 0 whatever the verdict.

    Raises:
        ManifestError: A manifest is missing, or is none.
        UsageError: The file exists and `force` is not given, or its folder does not.
    """
    sources = [manifest] if other is None else [manifest, other]
    target = output or Path(f"{'-against-'.join(path.stem for path in sources)}.html")
    _require_free(target, sources, force=force)
    write_bytes(target, html(manifest, other).encode())
    return str(target), 0


def write_page(
    name: str, runs: list[Run], tables: Mapping[str, list[Row]], target: Path, *, force: bool
) -> None:
    """Write a page about several runs by a template: tables, and curves over each other.

    Raises:
        UsageError: The file exists and `force` is not given, or its folder does not.
    """
    _require_free(target, [run.path for run in runs], force=force)
    steps = [steps_of(run) for run in runs]
    named = zip(ascii_uppercase, runs, strict=False)
    page = {
        "title": f"{len(runs)} runs",
        "runs": [(letter, str(run.path), ending(run)) for letter, run in named],
        "tables": tables,
        "figures": [*step_figures(runs, steps, None), *evaluation_figures(runs, steps)],
    }
    text = _templates().get_template(name).render(page=page)
    write_bytes(target, FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text).encode())


def _require_free(target: Path, sources: Iterable[Path], *, force: bool) -> None:
    """Raise a UsageError unless a page may be written to a file."""
    cure = "name another with --output"
    if os.path.realpath(target) in map(os.path.realpath, sources):
        raise UsageError("the page would replace a manifest", where=str(target), cure=cure)
    if target.is_dir():
        raise UsageError("the page's file is a directory", where=str(target), cure=cure)
    if target.exists() and not force:
        cure = f"{cure}, or replace it with --force"
        raise UsageError("the file exists", where=str(target), cure=cure)
    if not target.parent.is_dir():
        cure = "create it, or name another with --output"
        raise UsageError("the page's folder is missing", where=str(target.parent), cure=cure)


def html(a: Path, b: Path | None = None) -> str:
    """Return the page about a run, or about two; equal manifests and traces give equal pages.

    Raises:
        ManifestError: A manifest is missing, or is none.
    """
    template = _templates().get_template("page.html.jinja")
    runs = [Run.load(path) for path in ([a] if b is None else [a, b])]
    comparison = None if b is None else compare_pair(a, b)
    page = template.render(page=_page(runs, comparison), listed=LISTED, numbers=NUMBERS)
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", page)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("tinybert.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["exact_value"] = exact_value
    return templates


def _page(runs: list[Run], comparison: Comparison | None) -> dict[str, Any]:
    """Return what the template shows, by the names that it uses."""
    steps = [steps_of(run) for run in runs]
    names = ["A", "B"] if comparison else [""]
    return {
        "title": " against ".join(run.path.stem for run in runs),
        "banner": comparison.headline if comparison else ending(runs[0]),
        "look": _look(runs, comparison),
        "runs": [_run(*given) for given in zip(names, runs, steps, strict=True)],
        "comparison": comparison,
        "results": _results(runs),
        "figures": list(step_figures(runs, steps, comparison)),
        "shortened": any(len(c.steps) > BUCKETS for each in steps for c in each.curves.values()),
        "numbers": list(curve_rows(steps)),
        "evaluations": list(evaluation_figures(runs, steps)),
        "evaluation_rows": list(evaluation_rows(steps)),
        "facts": _side_by_side([describe_run(run) for run in runs]),
        "timing": _side_by_side([timing(run) for run in runs]),
    }


def _look(runs: list[Run], comparison: Comparison | None) -> str:
    """Return how the banner looks."""
    if comparison is None and unmet(runs[0]):
        return "bad"
    return LOOKS.get(comparison.verdict if comparison else runs[0].status, "open")


def _run(name: str, run: Run, steps: Steps) -> dict[str, Any]:
    """Return what the template shows of one run alone; `name` is empty where it is the only one.

    `expectations` is None where there are none, or the run is not finished.
    """
    outcome = run.manifest.outcome
    expected = run.manifest.inputs.recipe.values.get("expect") and outcome.steps
    checked = expected and outcome.status == "finished"
    note = f"{name}: {steps.note}." if name else f"{steps.note[:1].upper()}{steps.note[1:]}."
    return {
        "name": name,
        "run": run,
        "ending": ending(run),
        "expectations": expectation_failures(run) if checked else None,
        "lineage": lineage(run.path)[0] if run.manifest.inputs.parents else "",
        "checkpoints": [(n, kept.file, kept.tensor_digest) for n, kept in kept_checkpoints(run)],
        "recipe": list(resolved_recipe(run)),
        "note": note if steps.note else "",
    }


def _results(runs: list[Run]) -> list[Row]:
    columns: list[dict[str, float]] = []
    for run in runs:
        best = run.manifest.outcome.best_step
        columns.append(final_metrics(run) | ({} if best is None else {"best step": best}))
    if len(columns) == 1:
        return [(name, repr(value)) for name, value in columns[0].items()]
    rows: list[Row] = []
    for name in {**columns[0], **columns[1]}:
        x, y = (column.get(name) for column in columns)
        values = ["-" if value is None else repr(value) for value in (x, y)]
        far = ["-", "-"]
        if x is not None and y is not None:
            far = [f"{y - x:.4g}", f"{relative_difference(x, y):.3g}"]
        rows.append((name, *values, *far))
    return rows


def _side_by_side(facts: Iterable[Iterable[tuple[str, str]]]) -> list[Row]:
    """Return a row for each name that a run has, with the texts of all runs."""
    columns = [dict(each) for each in facts]
    names = {name: None for column in columns for name in column}
    return [(name, *(column.get(name, "-") for column in columns)) for name in names]
