"""Several runs, one after the other, each in a process of its own."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinybert.compare.expectations import expectation_failures
from tinybert.errors import ChainError, InputError, StoppedError, TinybertError, UsageError, all_of
from tinybert.files import PROGRAM, relative_to_cwd
from tinybert.launch.msrun import end_with_parent
from tinybert.manifest.document import Run, load_runs
from tinybert.plan.parent_runs import find_finished_run, readings_of, recipe_links
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import ResolvedRecipe, load
from tinybert.recipe.network import Role
from tinybert.run.execute import RunOptions
from tinybert.signals import StopRequest
from tinybert.terminal import print_text

PAUSE = 0.1
"""Seconds between two looks at whether the user wants to stop."""


@dataclass(frozen=True)
class ChainedRun:
    """A run of a chain."""

    recipe: ResolvedRecipe
    finished: Run | None
    """The run, where it is there already."""
    pending: frozenset[Role] = frozenset()
    """The networks that come from runs that are not there yet."""


def run_chain(recipes: Sequence[str], options: RunOptions, stop: StopRequest) -> str:
    """Run recipes, and first the recipes that they link to; finished runs are not repeated.

    Args:
        recipes: The recipes, to which the changes of `options` apply.
        options: As for each of them.
        stop: Whether the user asked to stop.

    Returns:
        Nothing: each run prints its own manifest, or its plan.

    Raises:
        ChainError: A run failed; it names those that were not begun.
        StoppedError: The user stopped; it names those that were not begun.
        TinybertError: A recipe or a file of a run that is to come has problems; nothing ran.
    """
    alone = {"resume": None, "profile": None, "trial": None, "continues": None, "host_rank": 0}
    if any(getattr(options, name) != default for name, default in alone.items()):
        message = "--resume, --continue, --profile, --try and --host-rank are for one run"
        raise UsageError(message, cure="name one recipe alone")
    links = list(chain_of([(Path(path), options.overrides) for path in recipes], options))
    require_files(links, options.root)
    run_missing(links, options, stop)
    return ""


def run_missing(links: Sequence[ChainedRun], options: RunOptions, stop: StopRequest) -> None:
    """Run what has no finished run, in order; raises as `run_chain`."""
    for number, link in enumerate(links, 1):
        name = f"{number} of {len(links)}: {link.recipe.path}"
        if link.finished is None:
            if not options.dry_run:
                print_text(name, sys.stderr)
                later = [str(each.recipe.path) for each in links[number:] if not each.finished]
                run_apart(link.recipe, options, stop, later)
            elif not link.pending:
                run_apart(link.recipe, options, stop, [])
            else:
                print_text(f"{name}: planned when the runs it links to are there", sys.stderr)
            continue
        failed = expectation_failures(link.finished)
        but = ", but not as its [expect] says" if failed else ""
        manifest = relative_to_cwd(link.finished.path)
        print_text(f"{name} is finished{but}: {manifest}", sys.stderr)


def chain_of(
    recipes: Iterable[tuple[Path, Sequence[str]]], options: RunOptions
) -> Iterator[ChainedRun]:
    """Yield recipes after those that they link to, each once; those of finished runs are left out.

    Args:
        recipes: The path of each recipe, and what `--set` changes in it; nothing is changed in
            those that they link to.
        options: As for each of them, beside the changes.

    Raises:
        RecipeError: A recipe cannot be read, or has problems.
        UsageError: Recipes link to each other in a circle.
    """
    done: dict[tuple[Path, tuple[str, ...]], ChainedRun] = {}

    @cache
    def runs_named(name: str) -> list[Run]:
        return list(load_runs(options.root, name))

    def visit(
        path: Path, overrides: tuple[str, ...], below: tuple[Path, ...], *, named: bool
    ) -> Iterator[ChainedRun]:
        place = path.resolve()
        if (place, overrides) in done:
            return
        if place in below:
            raise UsageError(
                "the recipe links to itself, by way of others", where=relative_to_cwd(path)
            )
        shown = Path(relative_to_cwd(path))
        readings = (
            [load(shown, overrides, options.device)]
            if named
            else readings_of(shown, options.device)
        )
        recipe, finished, pending = readings[-1], None, set()
        if not (named and options.fresh):
            finished = find_finished_run(runs_named(recipe.name), readings, options.root)
        for role, linked in recipe_links(recipe.recipe) if finished is None else ():
            parent = options.root / linked
            yield from visit(parent, (), (*below, place), named=False)
            if done[parent.resolve(), ()].finished is None:
                pending.add(role)
        done[place, overrides] = ChainedRun(recipe, finished, frozenset(pending))
        yield done[place, overrides]

    for path, overrides in recipes:
        yield from visit(path, tuple(overrides), (), named=True)


def require_files(links: Iterable[ChainedRun], root: Path) -> None:
    """Raise one error with everything that is wrong with the files of the runs that are to come.

    What is wrong for several runs of a recipe is listed once.

    Raises:
        InputError: A file is missing or damaged, or does not go with the others.
    """
    problems = {str(problem): problem for link in links for problem in _problems(link, root)}
    if problems:
        raise all_of(list(problems.values()))


def _problems(link: ChainedRun, root: Path) -> Sequence[TinybertError]:
    """Return what is wrong with the files of a run that is to come."""
    if link.finished is not None:
        return ()
    _, problems = make_plan(link.recipe, root, link.pending)
    return [
        InputError(f"{link.recipe.path}: {each.message}", where=each.where, cure=each.cure)
        for each in problems
    ]


def run_apart(
    recipe: ResolvedRecipe, options: RunOptions, stop: StopRequest, later: Sequence[str]
) -> None:
    """Run a recipe in a process that gets the signals of this one, and ends with it.

    Raises:
        ChainError: It failed.
        StoppedError: The user stopped it, or asked for that before it began.
    """
    cure = "the same command goes on from here"
    if stop.signum is not None:
        left = ", ".join([str(recipe.path), *later])
        raise StoppedError(f"stopped; not begun: {left}", signum=stop.signum, cure=cure)
    command = [sys.executable, str(PROGRAM / "runner.py"), *_arguments(recipe, options)]
    process = subprocess.Popen(command, preexec_fn=end_with_parent)
    forwarded = False
    with stop.waiting():
        while process.poll() is None:
            try:
                process.wait(PAUSE)
            except subprocess.TimeoutExpired:
                if stop.signum is not None and not forwarded:
                    process.send_signal(stop.signum)
                    forwarded = True
    if process.returncode == 0:
        return
    left = f"; not begun: {', '.join(later)}" if later else ""
    if stop.signum is not None:
        raise StoppedError(f"{recipe.path} was stopped{left}", signum=stop.signum, cure=cure)
    message = f"the run of {recipe.path} ended with {process.returncode}{left}"
    raise ChainError(message, exit_code=process.returncode, cure=cure)


def _arguments(recipe: ResolvedRecipe, options: RunOptions) -> list[str]:
    """Return the arguments by which one run of a chain is started."""
    words = ["run", str(recipe.path), "--root", str(options.root)]
    words += [word for override in recipe.overrides for word in ("--set", override)]
    words += ["--device", recipe.device] if recipe.device else []
    words += ["--study", str(options.study)] if options.study else []
    flags = ("fresh", "dry_run", "require_clean")
    words += [f"--{flag.replace('_', '-')}" for flag in flags if getattr(options, flag)]
    return [*words, "--log-format", options.log_format]
