"""The chain of runs as boxes: what each one measured, and where its files are."""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from tinybert.manifest.document import Run
from tinybert.report.facts import unmet
from tinybert.report.lineage import Ancestor, ancestors, parent_links
from tinybert.report.networks import networks_of
from tinybert.report.numbers import count_text, number
from tinybert.report.runs import main_metric
from tinybert.report.subject import Subject
from tinybert.report.words import STAGES, metric_words

PAGE = ".html"


@dataclass(frozen=True)
class Box:
    """A run of the chain."""

    role: str
    """What its result was read for; empty for the page's own run."""
    stage: str
    name: str
    status: str
    as_expected: bool
    network: Markup | str
    """Layers, width and parameters of what it trained or measured."""
    metric: str
    """Empty: it measured nothing."""
    value: Markup
    manifest: str
    """Link to its manifest; empty where that cannot be read."""
    page: str
    """Link to its page, if there is one beside this."""
    problem: str
    """What is wrong with the link to it."""


def lineage_columns(subject: Subject) -> list[list[Box]] | None:
    """Return the runs that led to the page's run, the earliest first, and the run itself last.

    Runs that are as many links away from it are in one column. None: there are no such runs, or
    the page is about several.
    """
    if subject.alone is None:
        return None
    run = subject.alone.run
    chain = list(ancestors(run.path, parent_links(run)))
    if not chain:
        return None
    depths: dict[str, Ancestor] = {}
    for each in chain:
        known = depths.get(each.name)
        if known is None or known.depth < each.depth:
            depths[each.name] = each
    columns: list[list[Box]] = [[] for _ in range(max(each.depth for each in chain))]
    for each in depths.values():
        columns[-each.depth].append(_ancestor_box(each, subject))
    return [*columns, [_box("", run, subject, "")]]


def _ancestor_box(each: Ancestor, subject: Subject) -> Box:
    if each.run is not None:
        return _box(each.role, each.run, subject, each.problem)
    name = Path(each.name).stem
    return Box(each.role, "", name, "not here", True, "", "", Markup(), "", "", each.problem)


def _box(role: str, run: Run, subject: Subject, problem: str) -> Box:
    metric, value = main_metric(run)
    page = subject.folder / f"{run.path.stem}{PAGE}"
    own = subject.alone is not None and run is subject.alone.run
    return Box(
        role=role,
        stage=STAGES.get(run.manifest.inputs.stage, run.manifest.inputs.stage),
        name=run.path.stem,
        status=run.status,
        as_expected=not unmet(run),
        network=_network(run),
        metric=metric_words(metric),
        value=Markup() if value is None else number(value),
        manifest=subject.link(run.path),
        page=subject.link(page) if page.is_file() and not own else "",
        problem=problem,
    )


def _network(run: Run) -> Markup | str:
    network = networks_of(run)
    if network.parameters is None:
        return network.size
    return Markup("{}, {} parameters").format(network.size, count_text(network.parameters))
