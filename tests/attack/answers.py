"""Questions to the program, in this process; an answer that none may have is a failure."""

import io
import re
import signal
import time
from collections import Counter
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import runner

LONGEST = 5.0
"""Seconds of processor time that an answer may take."""
PATIENCE = 60
"""Seconds until an answer that waits for something is given up."""
CODES = (0, 1, 2, 3, 4)
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What may not reach a terminal."""


class Answer:
    """Exit code and text of one command."""

    def __init__(self, code, out, err, seconds=0.0):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def problems(self):
        """Yield what no answer may be, whatever was asked."""
        if self.code not in CODES:
            yield f"exit code {self.code}"
        if "Traceback" in self.out + self.err:
            yield "a traceback"
        text = self.err + self.out
        reasons = ("error: ", "incomparable: ", '"problems"', "::error ")
        if self.code in (2, 4) and not any(reason in text for reason in reasons):
            yield "no reason"
        if found := RAW.search(self.out + self.err):
            yield f"a raw control character {found[0]!r}"
        if self.seconds > LONGEST:
            yield f"{self.seconds:.1f} seconds"

    def __str__(self):
        return f"exit {self.code}: {(self.err or self.out).strip()[-800:]}"


@contextmanager
def patience():
    """Give up what waits."""

    def give_up(signum, frame):
        raise TimeoutError(f"no answer within {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ask(*arguments):
    """Carry out a command of the command line; returns its answer."""
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    with redirect_stdout(out), redirect_stderr(err), patience():
        try:
            code = runner.main([str(argument) for argument in arguments])
        except SystemExit as error:  # as argparse ends
            code = error.code
    return Answer(code, out.getvalue(), err.getvalue(), time.process_time() - began)


COLUMNS = ("refused", "harmless", "silent change", "exit 70")
"""Answers that the table always has; others follow them."""


def judged(verdict, problems):
    """Return the column of an answer: its verdict, or what is wrong with it."""
    if not problems:
        return verdict
    text = " ".join(problems)
    if "exit code 70" in text or "a traceback" in text or "Error: " in text:
        return "exit 70"
    silent = ("in silence", "noticed nothing", "took it")
    return "silent change" if any(words in text for words in silent) else "wrong"


class Table:
    """How often each answer was given, by what was attacked; printed after the tests."""

    def __init__(self):
        self.counts = {}
        self.slowest = {}

    def add(self, attacked, answer, seconds=0.0):
        self.counts.setdefault(attacked, Counter())[answer] += 1
        self.slowest[attacked] = max(seconds, self.slowest.get(attacked, 0.0))

    def __str__(self):
        found = {answer for counts in self.counts.values() for answer in counts}
        answers = [*COLUMNS, *sorted(found - {*COLUMNS})]
        rows = [["attacked", "tried", *answers, "slowest"]]
        for attacked, counts in self.counts.items():
            cells = [str(counts[answer]) for answer in answers]
            slowest = f"{self.slowest[attacked]:.2f} s"
            rows.append([attacked, str(counts.total()), *cells, slowest])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for name, *cells in rows:
            padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            lines.append("  ".join([name.ljust(widths[0]), *padded]))
        return "\n".join(lines)
