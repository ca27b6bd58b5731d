"""One run, or two compared, as one HTML page without scripts or other files: the command report."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tinybert.atomic import write_bytes
from tinybert.compare.causes import NOTE
from tinybert.compare.steps import StepDifference
from tinybert.compare.tensors import TensorDifference
from tinybert.compare.verdict import Comparison, Run, compare
from tinybert.errors import UsageError
from tinybert.report import facts as about
from tinybert.report.curves import steps_of
from tinybert.report.markup import (
    element,
    escaped,
    folded,
    html_table,
    items,
    page,
    run_key,
    section,
)
from tinybert.report.plots import curves, evaluations
from tinybert.report.text import LISTED, evidence, headline, value_text

SAME = ("bitwise", "equal", "within tolerance")


def report(a: Path, b: Path | None, *, output: Path | None, force: bool) -> tuple[str, int]:
    """Write the page about a run, or about two.

    Args:
        a: A manifest.
        b: Another one to compare with.
        output: The page; None: named after the runs, in the current directory.
        force: Replace an existing file.

    Returns:
        The page's path, and exit code 0 whatever the verdict.

    Raises:
        ManifestError: A manifest is missing, or is none.
        UsageError: The file exists and `force` is not given, or its folder does not.
    """
    given = [a] if b is None else [a, b]
    target = output or Path(f"{'-against-'.join(path.stem for path in given)}.html")
    cure = "name another with --output"
    if any(target.resolve() == path.resolve() for path in given):
        raise UsageError("the page would replace a manifest", where=str(target), cure=cure)
    if target.is_dir():
        raise UsageError("the page's file is a directory", where=str(target), cure=cure)
    if target.exists() and not force:
        cure = f"{cure}, or replace it with --force"
        raise UsageError("the file exists", where=str(target), cure=cure)
    if not target.parent.is_dir():
        cure = "create it, or name another with --output"
        raise UsageError("the page's folder is missing", where=str(target.parent), cure=cure)
    write_bytes(target, html(a, b).encode())
    return str(target), 0


def html(a: Path, b: Path | None = None) -> str:
    """Return the page about a run, or about two; equal manifests and traces give equal pages.

    Raises:
        ManifestError: A manifest is missing, or is none.
    """
    runs = [Run.load(path) for path in ([a] if b is None else [a, b])]
    comparison = None if b is None else compare(a, b)
    steps = [steps_of(run) for run in runs]
    title = " against ".join(run.path.stem for run in runs)
    parts = [
        element("h1", title),
        _banner(runs, comparison),
        *_of_each("Failure", runs, about.failure),
        _differences(comparison) if comparison else "",
        section("Results", about.results(runs)),
        *_of_each("Expectations", runs, about.expectations),
        section("Curves", *curves(runs, steps, comparison)),
        section("Evaluations", *evaluations(runs, steps)),
        section("Facts", about.facts_table(runs)),
        section("Time and place", about.timing(runs)),
        *_of_each("What is behind it", runs, about.provenance),
    ]
    return page(title, parts)


def _of_each(title: str, runs: Sequence[Run], told: Callable[[Run], str]) -> Iterator[str]:
    """Yield a section a run, for runs about which there is something to say."""
    for name, run in zip("AB", runs, strict=False):
        yield section(f"{title}: {name}" if len(runs) > 1 else title, told(run))


def _banner(runs: Sequence[Run], comparison: Comparison | None) -> str:
    """Return the verdict, or how the only run ended."""
    if comparison is None:
        told, looks = about.ending(runs[0])
        return element("p", told, class_=f"verdict {looks}")
    looks = "good" if comparison.verdict in SAME else "bad"
    looks = "open" if comparison.verdict == "incomparable" else looks
    told = element("p", headline(comparison), class_=f"verdict {looks}")
    lines = [
        f"<p>{run_key(name)} {escaped(run.path)}, {escaped(about.ending(run)[0])}</p>"
        for name, run in zip("AB", runs, strict=True)
    ]
    return told + "".join(lines)


def _differences(comparison: Comparison) -> str:
    """Return what differs, causes first."""
    causes = [cause.text for cause in comparison.causes if cause.rank != NOTE]
    notes = [cause.text for cause in comparison.causes if cause.rank == NOTE]
    without = comparison.verdict in ("bitwise", "equal")
    outcome = [(name, value_text(x), value_text(y)) for name, (x, y) in comparison.outcome.items()]
    parts = [
        _group("Without effect" if without else "Causes, the most probable first", causes),
        _group("Reasons", comparison.reasons),
        _first_step(comparison.step) if comparison.step else "",
        _first_tensor(comparison.tensor) if comparison.tensor else "",
        element("h3", "Outcome") + html_table(["", "A", "B"], outcome) if outcome else "",
        _group("What causes nothing", notes),
        _group("Not looked at", comparison.notes),
    ]
    told = "".join(parts) or element("p", "Nothing that the manifests record differs.")
    return section("Differences", told)


def _group(title: str, texts: Sequence[str]) -> str:
    """Return a titled list; what is beyond a page's patience is folded."""
    if not texts:
        return ""
    more = folded(f"and {len(texts) - LISTED} more", items(texts[LISTED:]))
    return element("h3", title) + items(texts[:LISTED], ordered=True) + more


def _first_step(step: StepDifference) -> str:
    rows = [(name, value_text(x), value_text(y)) for name, (x, y) in step.values.items()]
    title = f"First differing step: {step.global_step}"
    far = f"Largest relative difference of a step's loss: {step.loss_difference:.3g}."
    told = evidence(step)
    return (
        element("h3", title)
        + element("p", f"{told[:1].upper()}{told[1:]}.")
        + html_table(["", "A", "B"], rows)
        + (element("p", far) if all(step.losses) else "")
    )


def _first_tensor(tensor: TensorDifference) -> str:
    rows: list[tuple[str, object]] = [("checkpoint of step", tensor.step)]
    if tensor.absolute is not None and tensor.relative is not None:
        rows.append(("largest absolute difference", f"{tensor.absolute:.3g}"))
        rows.append(("largest relative difference", f"{tensor.relative:.3g}"))
    rows.append(("tensors that differ", f"{tensor.differing} of {tensor.tensors}"))
    return element("h3", f"First differing tensor: {tensor.name}") + html_table([], rows)
