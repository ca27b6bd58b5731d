"""The tables of docs/scale.md are those that its script computes, and it computes them rightly."""

import pytest

from benchmarks import scale


def test_the_page_has_the_tables_of_the_script():
    assert scale.PAGE.read_text(encoding="utf-8") == scale.page(), (
        "run `python benchmarks/scale.py --write`"
    )


def test_gradients_are_those_of_the_trained_parameters():
    words = (30522 + 512 + 2) * 384 + 2 * 384
    layer = 4 * (384 * 384 + 384) + 2 * 384 * 1536 + 1536 + 384 + 4 * 384
    fit = 384 * 768 + 768
    assert scale.trained_bytes(*scale.networks()) == 4 * (words + 4 * layer + fit)


def test_products_of_the_teacher_are_counted_by_hand():
    teacher, _ = scale.networks()
    tokens, layers = 128, 12
    maps = 4 * 768 * 768 + 2 * 768 * 3072  # query, key, value, output; in and out
    attention = 2 * tokens * 768  # a token's scores over all heads, and its context
    assert scale.forward_flops(teacher) == layers * tokens * 2 * (maps + attention)


@pytest.mark.parametrize(("members", "share"), [(1, 0.0), (2, 1.0), (4, 1.5), (8, 1.75)])
def test_a_ring_moves_all_but_the_own_part_twice(members, share):
    assert scale.ring_seconds(members, 100.0, 10.0) == pytest.approx(10 * share)


def test_one_host_sends_nothing_to_others():
    within, between = scale.message_seconds(8, 77e6)
    assert within > 0
    assert between == 0


def test_draws_are_those_of_all_sites():
    _, student = scale.networks()
    rows, tokens = 32, 128
    hidden, attention = 9 * tokens * 384, 4 * 12 * tokens * tokens
    assert scale.mask_elements(student, rows) == rows * (hidden + attention)
