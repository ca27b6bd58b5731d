"""Work is shared out to threads: all of it, once, and on as many as there are."""

import threading

import pytest

from tinybert.kernels.threads import LEAST, Threads


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("iterations", [0, 1, 2, 7, 100])
def test_ranges_make_up_all_iterations(count, iterations):
    shared, ranges = Threads(), []
    shared.use(count)
    shared.share(iterations, LEAST, lambda *each: ranges.append(each), "argument")
    assert {first for first, _, _ in ranges} == {"argument"}
    ordered = sorted((start, end) for _, start, end in ranges)
    assert [i for start, end in ordered for i in range(start, end)] == list(range(iterations))
    assert len(ranges) == max(1, min(iterations, count))


def test_a_small_loop_is_one_call():
    shared, ranges = Threads(), []
    shared.use(3)
    shared.share(90, LEAST - 1, lambda *each: ranges.append(each))
    assert ranges == [(0, 90)]


def test_all_threads_work_at_the_same_time():
    shared, everybody = Threads(), threading.Barrier(3, timeout=30)
    shared.use(3)
    assert shared.map(lambda item: (everybody.wait(), item)[1], [5, 6, 7]) == [5, 6, 7]
    shared.use(1)
    here = threading.get_ident()
    assert shared.map(lambda item: threading.get_ident(), range(9)) == [here] * 9


@pytest.mark.parametrize("fails_here", [False, True])
def test_an_exception_comes_when_no_thread_works_any_more(fails_here):
    shared, done, here = Threads(), [], threading.get_ident()
    shared.use(2)
    both = threading.Barrier(2, timeout=30)

    def work(item):
        both.wait()
        if (threading.get_ident() == here) == fails_here:
            raise ValueError(f"no {item}")
        threading.Event().wait(0.2)
        done.append(item)

    with pytest.raises(ValueError, match="no "):
        shared.map(work, [1, 2])
    assert len(done) == 1


def test_results_are_in_the_order_of_the_items():
    shared = Threads()
    shared.use(4)
    assert shared.map(lambda item: item * item, range(1000)) == [i * i for i in range(1000)]
