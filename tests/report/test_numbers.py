"""Numbers as a page shows them."""

import math

import pytest

from tinybert.report.numbers import count_text, number, seconds_text, short_number
from tinybert.report.words import summary_of

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.89655172413793105, "0.8966"),
        (0.9, "0.9000"),
        (0.0, "0"),
        (1.0, "1"),
        (65536.0, "65,536"),
        (123456.78, "123,457"),
        (2.0833e-05, "2.083e-05"),
        (1.5e300, "1.500e+300"),
        (-0.0172, f"{MINUS}0.01720"),
        (math.nan, "not a number"),
        (-math.inf, f"{MINUS}infinite"),
    ],
)
def test_a_number_has_four_digits(value, text):
    assert short_number(value) == text


def test_a_shortened_number_has_its_bits_on_demand():
    assert number(2 / 3) == (
        '<span class="value" title="0.6666666666666666 (0x1.5555555555555p-1)">'
        '<span class="short">0.6667</span>'
        '<span class="exact">0.6666666666666666 (0x1.5555555555555p-1)</span></span>'
    )
    assert number(48.0) == "48"


@pytest.mark.parametrize(
    ("count", "text"), [(9_999, "9,999"), (54_162, ">54.2\xa0k<"), (14_500_000, ">14.5\xa0M<")]
)
def test_many_things_are_rounded(count, text):
    assert text in count_text(count)


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (61.4, "1 min 1 s"), (7_320.0, "2 h 2 min")]
)
def test_a_duration_has_two_units(seconds, text):
    assert seconds_text(seconds) == text


def test_the_first_paragraph_of_a_recipe_that_is_no_command_is_its_summary():
    text = "#:schema x.json\n# python runner.py a.toml\n#\n# A run\n# in small.\n#\n# Needs  CPU.\n"
    assert summary_of(text + '\nstage = "finetune"\n') == "A run in small."
    assert summary_of('stage = "finetune"\n# more\n') == ""
