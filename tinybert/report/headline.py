"""The head of a page: what it is about, how that ended, and what went wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tinybert.report.badges import Badge, comparison_badge, run_badge
from tinybert.report.facts import duration, unmet
from tinybert.report.numbers import number
from tinybert.report.runs import main_metric
from tinybert.report.subject import PagedRun, Subject
from tinybert.report.tiles import Tile, tiles
from tinybert.report.words import (
    change_words,
    device_words,
    metric_words,
    stage_words,
    summary_of,
    time_words,
)


@dataclass(frozen=True)
class Alert:
    """What went wrong with a run."""

    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Entry:
    """A run in the list of a page about several."""

    paged: PagedRun
    badge: Badge
    manifest: str
    """Link to its manifest."""
    facts: list[str]


@dataclass(frozen=True)
class Headline:
    """The head of a page."""

    eyebrow: list[str]
    """Stage, device, time."""
    title: str
    badge: Badge
    lead: list[str | Markup]
    """Sentences."""
    tiles: list[Tile]
    entries: list[Entry]
    """The two that are compared; more have a table of their own."""
    alerts: list[Alert]
    source: str
    """The manifest of a page about one run, or the record of a study."""
    manifest: str
    """Link to it."""


def headline(subject: Subject) -> Headline:
    """Return the head of a page."""
    first = subject.runs[0].run
    stages = list(dict.fromkeys(stage_words(paged.run) for paged in subject.runs))
    devices = dict.fromkeys(device_words(paged.run) for paged in subject.runs)
    eyebrow = [" and ".join(stages), " and ".join(filter(None, devices))]
    source = first.path if subject.study is None else subject.study.path
    return Headline(
        eyebrow=[*filter(None, eyebrow), _time(subject)],
        title=_title(subject),
        badge=_badge(subject),
        lead=list(_lead(subject)),
        tiles=tiles(subject),
        entries=[_entry(paged, subject) for paged in subject.runs] if subject.comparison else [],
        alerts=_alerts(subject),
        source=subject.relative(source),
        manifest=subject.link(source) if subject.alone or subject.study else "",
    )


def _title(subject: Subject) -> str:
    names = list(dict.fromkeys(paged.run.manifest.inputs.recipe.name for paged in subject.runs))
    if subject.alone is not None:
        return names[0]
    if subject.study is not None:
        return f"Study of {subject.study.record.recipe}"
    if subject.comparison is not None:
        return f"{names[0]}, two runs" if len(names) == 1 else " and ".join(names)
    return f"{len(subject.runs)} runs of {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"


def _time(subject: Subject) -> str:
    times = [time_words(paged.run) for paged in subject.runs]
    created = sorted(
        (paged.run.manifest.volatile.created, time)
        for paged, time in zip(subject.runs, times, strict=True)
    )
    first, last = created[0][1], created[-1][1]
    day, _, time = last.rpartition(", ")
    if first == last:
        return first
    if first.startswith(day):
        return f"{first.removesuffix(' UTC')} to {time}"
    return f"{first} to {last}"


def _badge(subject: Subject) -> Badge:
    if subject.alone is not None:
        return run_badge(subject.alone.run)
    if subject.comparison is not None:
        return comparison_badge(subject.comparison)
    runs = [paged.run for paged in subject.runs]
    total = len(runs) if subject.study is None else len(subject.study.record.members)
    finished = sum(run.status == "finished" for run in runs)
    failed = sum(bool(unmet(run)) for run in runs)
    if failed:
        return Badge(f"{failed} of {total} failed an expectation", "bad")
    return Badge(f"{finished} of {total} finished", "good" if finished == total else "open")


def _lead(subject: Subject) -> Iterator[str]:
    if subject.comparison is None:
        recipe = subject.runs[0].run.manifest.inputs.recipe
        if summary := summary_of(recipe.text):
            yield summary
        if subject.alone is not None and recipe.overrides:
            yield f"Changed by {', '.join(recipe.overrides)}."
        return
    a, b = (paged.run for paged in subject.runs)
    (name, x), (other, y) = main_metric(a), main_metric(b)
    if x is not None and y is not None and name == other:
        rises = None if x == y else y > x
        yield change_words(_metric_in_sentence(name), number(x), number(y), rises)
    text = subject.comparison.headline.partition(": ")[2]
    yield f"{text[:1].upper()}{text[1:]}."


def _metric_in_sentence(name: str) -> str:
    words = metric_words(name)
    if not name.startswith("best "):
        return words
    return f"Best {words[:1].lower() if words[1:2].islower() else words[:1]}{words[1:]}"


def _entry(paged: PagedRun, subject: Subject) -> Entry:
    facts = [time_words(paged.run), duration(paged.run)]
    manifest = subject.link(paged.run.path)
    return Entry(paged, run_badge(paged.run), manifest, [*filter(None, facts)])


def _alerts(subject: Subject) -> list[Alert]:
    """Return what went wrong; of several runs, one alert for each kind of it."""
    unmet_lines, alerts = list[str](), list[Alert]()
    for paged in subject.runs:
        owner = f"{paged.letter}: " if paged.letter else ""
        unmet_lines += [f"{owner}{failure.message}" for failure in unmet(paged.run)]
        if error := paged.run.manifest.outcome.error:
            lines = [line for line in error.message.splitlines() if line.strip()]
            at = f" after step {error.step}" if error.step is not None else ""
            alerts.append(Alert(f"{owner}{error.type}{at}", lines))
    if unmet_lines:
        count = len(unmet_lines)
        many = "1 expectation" if count == 1 else f"{count} expectations"
        alerts.insert(0, Alert(f"{many} failed", unmet_lines))
    return alerts
