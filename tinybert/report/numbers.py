"""Numbers and digests as a page shows them: short, and exact where the reader asks for it."""

import math
import re

from markupsafe import Markup, escape

from tinybert.compare.causes import exact_value
from tinybert.metrics.intervals import Interval

DIGITS = 4
"""Significant digits of a number on a page."""
DIGEST = 12
"""Characters of a digest on a page."""
LONG_NUMBER = re.compile(r"(?<![\w.])(-?\d+\.\d{5,}(?:e[-+]\d+)?)(?![\w.])")
"""A number in a sentence with more digits than people read."""
MINUS = "\N{MINUS SIGN}"
INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def short_number(value: float) -> str:
    """Return a number with four significant digits; a whole one below ten million stays whole."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{MINUS if value < 0 else ''}infinite"
    if value == int(value) and abs(value) < 1e7:
        text = f"{int(value):,}"
    elif 1e4 <= abs(value) < 1e7:
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.{DIGITS}g}".removesuffix(".")
    return text.replace("-", MINUS, 1) if value < 0 else text


def number(value: float, unit: str = "") -> Markup:
    """Return a number: short to see, exact as a title, and for the page's switch `exact`."""
    after = f"\N{NO-BREAK SPACE}{unit}" if unit else ""
    short = short_number(value)
    if short.replace(",", "") == f"{value:.15g}":
        return Markup("{}{}").format(short, after)
    return _two_forms(f"{short}{after}", exact_value(float(value)))


def with_short_numbers(text: str) -> Markup:
    """Return a sentence whose long numbers are as `number` has them."""
    parts = LONG_NUMBER.split(text)
    shown = [number(float(part)) if at % 2 else escape(part) for at, part in enumerate(parts)]
    return Markup().join(shown)


def difference(value: float) -> Markup:
    """Return how far one number is from another, with its sign."""
    return Markup("+") + number(value) if value > 0 else number(value)


def interval_text(interval: Interval) -> Markup:
    """Return the ends of a confidence interval."""
    low, high = number(interval.low), number(interval.high)
    return Markup("<span>{} to {}</span>").format(low, high)


def digest_text(digest: str) -> Markup:
    """Return the beginning of a digest; the whole one as a title, and for the switch `exact`."""
    if len(digest) <= DIGEST:
        return Markup("<code>{}</code>").format(digest)
    return Markup("<code>{}</code>").format(_two_forms(f"{digest[:DIGEST]}…", digest))


def value_text(value: object) -> Markup:
    """Return a value of a manifest or a trace: a number as `number`, all else in one line."""
    if isinstance(value, float):
        return number(value)
    return escape(exact_value(value))


def count_text(count: int) -> Markup:
    """Return a number of things, such as 14.5 M; the exact one as a title."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            divided = count / (1000 if unit == "k" else size)
            return _two_forms(f"{divided:.3g}\N{NO-BREAK SPACE}{unit}", f"{count:,}")
    return Markup(f"{count:,}")


def seconds_text(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def clock_text(seconds: float) -> str:
    """Return a duration in few characters, as a clock has it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _two_forms(short: str, exact: str) -> Markup:
    return Markup(
        '<span class="value" title="{1}"><span class="short">{0}</span>'
        '<span class="exact">{1}</span></span>'
    ).format(short, exact)
