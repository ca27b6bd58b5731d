"""Tables on a terminal: cells below each other."""

from collections.abc import Iterator, Sequence

from tinybert.report.facts import Row


def as_table(rows: Sequence[Row], indent: int = 0) -> Iterator[str]:
    """Yield a line for each row; all rows have equally many cells."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield (" " * indent + "  ".join(cells)).rstrip()
