"""Text on its way to a terminal, whatever file or process it comes from."""

import codecs
import io
import json
import os
import re
import sys
from typing import TextIO

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""Control characters but tab and newline, and those that change the order of what is shown."""


def printable(text: str) -> str:
    r"""Return text whose control characters are written as escapes, `\u001b`.

    The escapes are those of JSON, so that JSON remains the same JSON.
    """
    return UNPRINTABLE.sub(lambda found: _escape(found[0]), text)


def print_text(text: str, stream: TextIO) -> None:
    """Print text, control characters escaped; nothing where nobody reads the stream any more."""
    try:
        end = "" if text.endswith("\n") else "\n"
        print(printable(text), end=end, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def prepare_streams() -> None:
    """Make standard output and error take any text, also where they are closed or ASCII.

    Standard input is UTF-8, as files are; its other bytes become halves of surrogate pairs.

    A closed one becomes the null device, so that no file that is opened later takes its number
    and receives what libraries print.
    """
    codecs.register_error("json_escape", _escape_unencodable)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="json_escape")


def _escape(text: str) -> str:
    return json.dumps(text)[1:-1]


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escape(error.object[error.start : error.end]), error.end
