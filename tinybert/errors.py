"""The exceptions of this package; each knows the exit code of `run`.

TinybertError            70  never raised itself: an error without a class is our bug
├── UsageError            2  a command line that cannot be carried out
├── RecipeError           2  a recipe with problems; carries all of them
├── TrainingError         1  a run that started and could not finish
├── ExportError           1  an exported file that does not compute what the network does
├── ExpectationError      3  a run that finished and did not meet its [expect]
├── InputError            4  a file that is missing, damaged, or not what the recipe says
├── DeviceError           4  a device, or what it needs, that is not there
├── ManifestError         2  a manifest that cannot be read
├── ChainError           any  one of several runs that failed, with its exit code
└── StoppedError         130  a run that the user stopped (143 for SIGTERM)

Commands other than `run`, `study`, `rerun` and `audit` exit with 2 for every one of them.
"""

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

OUR_BUG = 70
"""The exit code of a defect of the program."""


class TinybertError(Exception):
    """A failure that the user can act on: what happened, where, and the cure.

    Args:
        message: One sentence, lower case, that names the fact.
        where: The place, as `path`, `path:line:column` or `path, record n`.
        cure: What the user can do about it.
    """

    exit_code = OUR_BUG

    def __init__(self, message: str, *, where: str = "", cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.cure = cure

    def __str__(self) -> str:
        """Return the message as the command line prints it, without the word `error`."""
        lines = [self.message]
        if self.where:
            lines.append(f"  --> {self.where}")
        if self.cure:
            lines.append(f"help: {self.cure}")
        return "\n".join(lines)


class UsageError(TinybertError):
    """A command line that cannot be carried out."""

    exit_code = 2


class RecipeError(TinybertError):
    """A recipe with problems; the message is the whole list, already laid out."""

    exit_code = 2


class TrainingError(TinybertError):
    """A run that started and could not finish, such as one whose loss is not finite."""

    exit_code = 1


class ExportError(TinybertError):
    """An exported file that does not compute what the network does."""

    exit_code = 1


class ExpectationError(TinybertError):
    """A run that finished and did not meet its `[expect]`."""

    exit_code = 3


class InputError(TinybertError):
    """A file that is missing, damaged, or not what the recipe says."""

    exit_code = 4


class DeviceError(TinybertError):
    """A device, or software that it needs, that is not there."""

    exit_code = 4


class ManifestError(TinybertError):
    """A manifest that is missing or cannot be read."""

    exit_code = 2


class ChainError(TinybertError):
    """One of several runs that failed.

    Args:
        exit_code: That run's; of one that a signal ended, 128 and the signal's number.
    """

    def __init__(self, message: str, *, exit_code: int, where: str = "", cure: str = "") -> None:
        super().__init__(message, where=where, cure=cure)
        self.exit_code = exit_code if exit_code >= 0 else 128 - exit_code


class StoppedError(TinybertError):
    """A run that the user stopped; it saved a checkpoint first.

    Args:
        signum: The signal's number, 2 (SIGINT) or 15 (SIGTERM).
    """

    def __init__(self, message: str, *, signum: int, where: str = "", cure: str = "") -> None:
        super().__init__(message, where=where, cure=cure)
        self.exit_code = 128 + signum


REFUSALS = (InputError, DeviceError, UsageError)
"""Errors by which a run that would go on is refused, rather than failed."""
MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY, errno.ETXTBSY),
)
"""Errors of the system that are the machine's or its user's, and no defect of the program."""
WRONG_KIND = (
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV),
)
"""Errors of a path where something else is than a program can expect."""


def of_machine(error: OSError | MemoryError) -> TinybertError | None:
    """Return a full disk, a missing right or the like as an error; None for anything else."""
    if isinstance(error, MemoryError):
        return InputError("there is not enough memory", cure="allow more, or use less at once")
    if error.errno == errno.ENOENT and error.filename is None:
        cure = "change to a directory that exists"
        return InputError("the working directory was deleted", cure=cure)
    if error.errno in WRONG_KIND:
        cure = "see what is at this path"
    elif error.errno in MACHINE:
        cure = "check the disk, its quota and its rights; what was saved before is whole"
    else:
        return None
    reason = (error.strerror or str(error)).lower()
    return InputError(f"the system refused: {reason}", where=str(error.filename or ""), cure=cure)


@contextmanager
def collect(problems: list[InputError]) -> Iterator[None]:
    """Append an InputError of the body to `problems`, rather than raise it."""
    try:
        yield
    except InputError as error:
        problems.append(error)


def quoted(names: Iterable[str]) -> str:
    """Return names for a message, as in "`a`, `b`"; "none" without any."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def bulleted(items: Iterable[object]) -> str:
    """Return items as lines for the end of a message, each after a dash."""
    return "".join(f"\n  - {item}" for item in items)


def at_most(count: int, items: Sequence[str]) -> list[str]:
    """Return the first `count` items, and then how many more there are."""
    more = len(items) - count
    return [*items[:count], f"and {more} more"] if more > 0 else list(items)


def counted(count: int, noun: str) -> str:
    """Return a number of things: `1 run`, `2 runs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def all_of(problems: Sequence[TinybertError]) -> TinybertError:
    """Return one error that lists all problems, with the exit code of the first."""
    if len(problems) == 1:
        return problems[0]
    listed = "\n\n".join(str(problem) for problem in problems)
    return type(problems[0])(f"{len(problems)} problems with what the run needs\n\n{listed}")
