import threading

import pytest

from tinybert.prefetch import prefetch


def test_items_come_in_their_order():
    assert list(prefetch(range(50), 3)) == list(range(50))


def test_an_exception_comes_where_its_item_would_have():
    def items():
        yield 1
        yield 2
        raise ValueError("third")

    iterator = prefetch(items(), 8)
    assert next(iterator) == 1
    assert next(iterator) == 2
    with pytest.raises(ValueError, match="third"):
        next(iterator)


def test_the_thread_is_at_most_depth_plus_one_ahead():
    made = []
    third_made = threading.Event()

    def items():
        for number in range(100):
            made.append(number)
            if number == 3:
                third_made.set()
            yield number

    iterator = prefetch(items(), 2)
    next(iterator)
    third_made.wait(10)
    assert made == [0, 1, 2, 3]
    iterator.close()


def test_closing_ends_the_thread_of_an_endless_iterable():
    def items():
        number = 0
        while True:
            yield number
            number += 1

    before = threading.active_count()
    iterator = prefetch(items(), 2)
    assert [next(iterator) for _ in range(5)] == [0, 1, 2, 3, 4]
    iterator.close()
    assert threading.active_count() == before
