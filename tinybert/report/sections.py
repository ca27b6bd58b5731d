"""The sections of a page, in their order: each is a function of the subject, and a template.

A new section is a function that returns what its template shows, or None where a page has no such
section; a template of its name in `templates/sections/`, which gets that as `content` and the
subject as `subject`; and a line in `SECTIONS`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tinybert.report.assessed_sections import changed, classes, mistakes
from tinybert.report.boxes import lineage_columns
from tinybert.report.checks import checks
from tinybert.report.differences import differences
from tinybert.report.facts import (
    Row,
    describe_run,
    kept_checkpoints,
    resolved_recipe,
    timing,
)
from tinybert.report.figures import (
    FigureGroup,
    LegendEntry,
    curve_rows,
    evaluation_group,
    evaluation_rows,
    legend,
    pace_group,
    step_groups,
)
from tinybert.report.numbers import digest_text
from tinybert.report.ranking import ranking, spreads
from tinybert.report.results import results
from tinybert.report.subject import PagedRun, Subject

DIGEST = re.compile("[0-9a-f]{40,64}")


@dataclass(frozen=True)
class PageSection:
    """A section of a page."""

    name: str
    """Of its template, and of its place in the page."""
    title: str
    content: Callable[[Subject], object | None]
    """What the template shows; None: the page has no such section."""


@dataclass(frozen=True)
class Charts:
    """Charts, and the same in numbers."""

    groups: list[FigureGroup]
    rows: list[tuple[str, ...]]
    notes: list[str]
    legend: list[LegendEntry]


@dataclass(frozen=True)
class Facts:
    """Facts of all runs of a page."""

    differing: list[Row]
    """Name, and a text a run."""
    equal: list[Row]
    timing: list[Row]


@dataclass(frozen=True)
class MadeFrom:
    """What a run was made from, and what it left."""

    paged: PagedRun
    manifest: str
    files: list[tuple[Any, ...]]
    checkpoints: list[tuple[Any, ...]]
    libraries: list[Row]
    recipe: list[Row]


def failures(subject: Subject) -> list[PagedRun] | None:
    """Return the failed runs of which more is known than their alerts say."""
    errors = [(each, each.run.manifest.outcome.error) for each in subject.runs]
    return [
        each
        for each, error in errors
        if error is not None and (error.last_lines or error.rank is not None)
    ] or None


def curves(subject: Subject) -> Charts | None:
    """Return the charts of the traces."""
    groups = list(step_groups(subject))
    notes = [
        f"{paged.letter}: {note}." if paged.letter else f"{note[:1].upper()}{note[1:]}."
        for paged in subject.runs
        if (note := paged.steps.note) and paged.run.manifest.inputs.stage != "evaluate"
    ]
    if not groups and not notes:
        return None
    return Charts(groups, list(curve_rows(subject)), notes, legend(subject))


def evaluations(subject: Subject) -> Charts | None:
    """Return the charts of the evaluations between the steps."""
    group = evaluation_group(subject)
    if group is None:
        return None
    return Charts([group], list(evaluation_rows(subject)), [], legend(subject))


def pace(subject: Subject) -> Charts | None:
    """Return the charts of speed and memory."""
    group = pace_group(subject)
    return None if group is None else Charts([group], [], [], legend(subject))


def facts(subject: Subject) -> Facts:
    """Return the facts of all runs; those that differ first."""
    rows = beside([describe_run(paged.run) for paged in subject.runs])
    differing = [row for row in rows if len(set(row[1:])) > 1]
    equal = [row for row in rows if len(set(row[1:])) == 1]
    return Facts(differing, equal, beside([timing(paged.run) for paged in subject.runs]))


def origins(subject: Subject) -> list[MadeFrom]:
    """Return what each run was made from."""
    return [_origin(paged, subject) for paged in subject.runs]


def beside(columns: Iterable[Iterable[tuple[str, str]]]) -> list[Row]:
    """Return a row for each name that a run has, with the texts of all runs."""
    every = [dict(column) for column in columns]
    names = {name: None for column in every for name in column}
    return [(name, *(_shortened(column.get(name, "-")) for column in every)) for name in names]


def _shortened(text: str) -> str:
    return digest_text(text) if DIGEST.fullmatch(text) else text


def _origin(paged: PagedRun, subject: Subject) -> MadeFrom:
    inputs, environment = paged.run.manifest.inputs, paged.run.manifest.environment
    checkpoints = kept_checkpoints(paged.run)
    return MadeFrom(
        paged,
        subject.link(paged.run.path),
        [(f.role, f.path, f"{f.size:,}", digest_text(f.sha256)) for f in inputs.files],
        [(n, kept.file, digest_text(kept.tensor_digest)) for n, kept in checkpoints],
        list(environment.distributions.items()) if environment else [],
        list(resolved_recipe(paged.run)),
    )


SECTIONS = (
    PageSection("failures", "Failure", failures),
    PageSection("differences", "What differs", differences),
    PageSection("ranking", "Runs", ranking),
    PageSection("spreads", "Over seeds", spreads),
    PageSection("lineage", "Lineage", lineage_columns),
    PageSection("results", "Results", results),
    PageSection("changed", "Row by row", changed),
    PageSection("classes", "Classes", classes),
    PageSection("mistakes", "Worst errors", mistakes),
    PageSection("checks", "Expectations", checks),
    PageSection("curves", "Training", curves),
    PageSection("evaluations", "Evaluations", evaluations),
    PageSection("pace", "Speed and memory", pace),
    PageSection("facts", "Facts", facts),
    PageSection("origins", "Provenance", origins),
)
