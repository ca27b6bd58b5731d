"""What is drawn, and how surely a forgery is found: the formula beside every possible draw."""

from collections import Counter
from itertools import combinations

import pytest

from tinybert.audit.stretches import Stretch, all_stretches, certainty, draw, one_step_certainty

KEPT = {20: "checkpoints/step-00000020.safetensors", 40: "checkpoints/step-00000040.safetensors"}


def stretches(length, kept=KEPT, total=48, committed=(20, 40, 48)):
    return all_stretches(
        "general_distill",
        steps_before=0,
        total_steps=total,
        kept=kept,
        committed=committed,
        length=length,
    )


def test_stretches_begin_where_the_state_is_known_and_share_no_step():
    short = [(s.checkpoint, s.first_step, s.end, s.checked) for s in stretches(8)]
    assert short == [(None, 0, 8, 7), (KEPT[20], 20, 28, 7), (KEPT[40], 40, 48, 8)]
    long = [(s.first_step, s.end, s.checked) for s in stretches(100)]
    assert long == [(0, 20, 20), (20, 40, 20), (40, 48, 8)]
    assert [(s.first_step, s.end, s.checked) for s in stretches(100, kept={})] == [(0, 48, 48)]


def test_the_second_phase_begins_with_its_own_weights_and_ends_with_its_own_steps():
    found = all_stretches(
        "phase2",
        steps_before=30,
        total_steps=20,
        kept={20: "a", 30: "b", 40: "c", 50: "d"},
        committed=(20, 30, 40, 50),
        length=10,
    )
    assert [(s.checkpoint, s.first_step, s.end) for s in found] == [(None, 30, 40), ("c", 40, 50)]


def test_the_draw_follows_from_outcome_and_nonce_and_is_even():
    every = [Stretch("a", None, first, 5, True) for first in range(0, 50, 5)]
    assert draw(every, 3, "outcome", "1") == draw(every, 3, "outcome", "1")
    assert draw(every, 99, "outcome", "1") == every
    counts = Counter(
        stretch.first_step for nonce in range(3000) for stretch in draw(every, 3, "o", str(nonce))
    )
    assert set(counts) == set(range(0, 50, 5))
    assert all(800 < count < 1000 for count in counts.values())  # 900 each
    assert draw(every, 3, "outcome", "1") != draw(every, 3, "outcome", "2")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("forged", [1, 4, 9, 14, 20])
def test_the_certainty_is_that_of_the_worst_place_by_enumeration(count, forged):
    """Steps are hidden in no stretch first, then in as few stretches as hold them."""
    checked = [3, 5, 5, 4]
    every = [Stretch("a", None, 10 * i, steps, True) for i, steps in enumerate(checked)]
    total = 20
    draws = list(combinations(range(4), count))
    worst = 1.0
    for size in range(5):
        for touched in combinations(range(4), size):
            room = total - sum(checked) + sum(checked[i] for i in touched)
            if room >= forged:
                found = sum(bool(set(touched) & set(drawn)) for drawn in draws)
                worst = min(worst, found / len(draws))
    assert certainty(every, count, total, forged) == pytest.approx(worst)


def test_one_forged_step_is_found_as_often_as_it_is_checked():
    every = stretches(8)
    assert one_step_certainty(every, 3, 48) == pytest.approx(22 / 48)
    assert one_step_certainty(every, 1, 48) == pytest.approx(22 / 48 / 3)
