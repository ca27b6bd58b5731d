"""The four tiles at the top of a page: result, networks, parameters, duration."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tinybert.manifest.document import Run
from tinybert.manifest.model import MemoryFacts, ThroughputFacts
from tinybert.report.facts import seconds_taken, unmet
from tinybert.report.networks import ARROW, networks_of, teacher_of
from tinybert.report.numbers import (
    INTERVAL,
    clock_text,
    count_text,
    difference,
    interval_text,
    number,
    seconds_text,
)
from tinybert.report.paired import PairedRuns
from tinybert.report.runs import is_loss, main_metric, size_text
from tinybert.report.seeds import SeedGroup
from tinybert.report.subject import PagedRun, Subject
from tinybert.report.words import metric_words

NARROW = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Tile:
    """A fact at the top of a page."""

    label: str
    value: Markup | str
    notes: Sequence[Markup | str] = ()
    bad: bool = False
    """Whether it is what an expectation failed for."""


def tiles(subject: Subject) -> list[Tile]:
    """Return result, networks, parameters and duration of a page's runs."""
    runs = [paged.run for paged in subject.runs]
    if subject.alone is not None:
        result = _result(subject.alone)
    elif subject.comparison is not None:
        result = _change(runs[0], runs[1], subject.paired)
    else:
        result = _best(runs, subject.groups)
    return [result, _networks(runs), _parameters(runs), _duration(runs)]


def _result(paged: PagedRun) -> Tile:
    run, notes = paged.run, list[Markup | str]()
    (name, value), outcome = main_metric(run), run.manifest.outcome
    if value is None and outcome.error is not None and outcome.steps:
        planned = run.manifest.effective.total_steps if run.manifest.effective else None
        notes += [f"of {planned:,}"] if planned else []
        return Tile("Ended after step", f"{outcome.steps:,}", notes)
    if value is None:
        return Tile("Result", "none", ["the run measured nothing"])
    if (interval := paged.assessed.intervals.get(name)) is not None:
        notes.append(Markup(f"{INTERVAL} {{}}").format(interval_text(interval)))
    if name.startswith("best ") and outcome.best_step is not None:
        notes.append(f"best evaluation, after step {outcome.best_step:,} of {outcome.steps:,}")
    if kept := _kept_of_teacher(run, name, value):
        notes.append(kept)
    return Tile(metric_words(name), number(value), notes, _fails(run, name))


def _fails(run: Run, name: str) -> bool:
    """Return whether a metric is out of the bounds that its run expects."""
    key = f"metrics.{name.removeprefix('best ')}"
    return any(failure.key == key for failure in unmet(run))


def _kept_of_teacher(run: Run, name: str, value: float) -> Markup:
    """Return which share of its teacher's metric a student has; empty where that says nothing."""
    if is_loss(name):
        return Markup()
    if (teacher := teacher_of(run)) is None:
        return Markup()
    other, theirs = main_metric(teacher)
    same = other.removeprefix("best ") == name.removeprefix("best ")
    if not same or theirs is None or theirs <= 0 or not math.isfinite(value):
        return Markup()
    share = f"{value / theirs:.1%}".replace("%", f"{NARROW}%")
    return Markup("{} of its teacher's {}").format(share, number(theirs))


def _change(a: Run, b: Run, paired: PairedRuns | None) -> Tile:
    (name, x), (other, y) = main_metric(a), main_metric(b)
    if x is None or y is None or name.removeprefix("best ") != other.removeprefix("best "):
        return Tile("Result", "not comparable")
    if x == y:
        return Tile(metric_words(name), number(x), ["the same in both"])
    value = Markup("{} {} {}").format(number(x), ARROW, number(y))
    notes = [Markup("{} from A to B").format(difference(y - x))]
    if paired is not None and name in paired.differences:
        interval = interval_text(paired.differences[name][1])
        notes.append(Markup(f"{INTERVAL} {{}}").format(interval))
    failed = any(_fails(run, name) for run in (a, b))
    return Tile(metric_words(name), value, notes, failed)


def _best(runs: Sequence[Run], groups: Sequence[SeedGroup]) -> Tile:
    """Return the best mean over seeds, or the best run where none differ in their seed alone."""
    measured = [(group, *main_metric(group.runs[0])) for group in groups if group.runs]
    ranked = [
        (group.spreads[name], name, group)
        for group, name, _ in measured
        if name in group.spreads and math.isfinite(group.spreads[name].mean)
    ]
    if not ranked or len({name for _, name, _ in ranked}) > 1:
        return Tile("Result", "not comparable")
    spread, name, group = min(
        ranked, key=lambda each: each[0].mean if is_loss(each[1]) else -each[0].mean
    )
    notes: list[Markup | str] = []
    if spread.deviation is not None and spread.interval is not None:
        low, high = map(number, spread.interval)
        notes.append(
            Markup("mean of {} seeds, 95 % interval {} to {}").format(spread.count, low, high)
        )
    if len(ranked) > 1:
        notes.append(f"with {group.short_name}, the best of {len(ranked)}")
    return Tile(metric_words(name), number(spread.mean), notes)


def _networks(runs: Sequence[Run]) -> Tile:
    every = [networks_of(run) for run in runs]
    described = dict.fromkeys((each.label, each.sizes) for each in every)
    if len(described) > 1:
        return Tile("Networks", "different", [sizes for _, sizes in described])
    ((label, sizes),) = described
    return Tile(label, sizes, ["layers \N{MULTIPLICATION SIGN} width"])


def _parameters(runs: Sequence[Run]) -> Tile:
    networks = [networks_of(run) for run in runs]
    every = dict.fromkeys(
        (each.parameters, each.teacher.parameters if each.teacher else None) for each in networks
    )
    if len(every) > 1:
        values = [count_text(count) if count else Markup("-") for count, _ in every]
        return Tile("Parameters", Markup(f" {ARROW} ").join(values[:3]))
    ((count, teacher),) = every
    if count is None:
        return Tile("Parameters", "-", ["the graph was not built"])
    notes: list[Markup | str] = []
    if teacher:
        share = f"{count / teacher:.0%}".replace("%", f"{NARROW}%")
        notes.append(Markup("{} of the teacher's {}").format(share, count_text(teacher)))
    return Tile("Parameters", count_text(count), notes)


def _duration(runs: Sequence[Run]) -> Tile:
    taken = [seconds_taken(run) for run in runs]
    known = [seconds for seconds in taken if seconds is not None]
    if not known or (len(runs) < 3 and len(known) < len(runs)):
        return Tile("Duration", "unknown", ["the end is not recorded"])
    if len(runs) > 2:
        mean = seconds_text(sum(known) / len(known))
        return Tile("Duration", seconds_text(sum(known)), [f"{mean} a run"])
    notes = list(_speed(runs))
    if len(runs) == 1 and (steps := runs[0].manifest.outcome.steps):
        notes.insert(0, f"{steps:,} steps")
    shown = clock_text if len(runs) > 1 else seconds_text
    return Tile("Duration", f" {ARROW} ".join(map(shown, known)), notes)


def _speed(runs: Sequence[Run]) -> Iterator[Markup | str]:
    facts = [run.manifest.volatile for run in runs]
    rates = [
        number(each.throughput.samples_per_second)
        for each in facts
        if isinstance(each.throughput, ThroughputFacts)
    ]
    if rates:
        yield Markup("{} rows a second").format(Markup(f" {ARROW} ").join(rates))
    peaks = [
        size_text(each.memory.peak_resident_bytes)
        for each in facts
        if isinstance(each.memory, MemoryFacts)
    ]
    if peaks:
        yield f"{f' {ARROW} '.join(dict.fromkeys(peaks))} of memory at most"
