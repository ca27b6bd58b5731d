"""How fast a run went, as it writes it down and as others read it."""

import pytest

from tinybert.manifest.pace import LINES, PaceWriter, read_pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def written(path, steps, total_steps, first=0, seconds=0.5, sink=1):
    """Steps of a process that needs so many seconds for each, and computes `sink` a call."""
    clock = Clock()
    writer = PaceWriter(path, total_steps, clock)
    for done in range(first + 1, steps + 1):
        clock.now += seconds
        writer.on_step(done, rows=8, ends_call=done % sink == 0)
    writer.close()


def test_each_stretch_has_its_own_rate_and_the_first_call_is_left_out(tmp_path):
    path = tmp_path / "pace.jsonl"
    clock = Clock()
    writer = PaceWriter(path, 4, clock)
    for done, seconds in ((1, 30.0), (2, 0.5), (3, 2.0), (4, 0.5)):
        clock.now += seconds
        writer.on_step(done, rows=8, ends_call=True)
    writer.close()
    found = [(pace.step, pace.seconds, pace.samples_per_second) for pace in read_pace(path)]
    assert found == [(2, 0.5, 16.0), (3, 2.5, 4.0), (4, 3.0, 16.0)]
    assert all(pace.resident_bytes > 1 << 20 for pace in read_pace(path))


def test_a_long_run_has_as_many_lines_as_a_page_can_show(tmp_path):
    written(tmp_path / "pace.jsonl", 10 * LINES, 10 * LINES)
    found = list(read_pace(tmp_path / "pace.jsonl"))
    assert LINES - 2 <= len(found) <= LINES
    assert {pace.samples_per_second for pace in found} == {16.0}


def test_steps_of_one_call_share_its_time(tmp_path):
    written(tmp_path / "pace.jsonl", 20, 20, sink=5)
    assert [pace.step for pace in read_pace(tmp_path / "pace.jsonl")] == [10, 15, 20]
    assert {pace.samples_per_second for pace in read_pace(tmp_path / "pace.jsonl")} == {16.0}


def test_time_goes_on_in_the_next_process_and_torn_lines_are_passed_over(tmp_path):
    path = tmp_path / "pace.jsonl"
    written(path, 4, 8)
    with path.open("a") as file:
        file.write('{"step":5,"seco\n')
    written(path, 8, 8, first=4)
    found = list(read_pace(path))
    assert [pace.step for pace in found] == [2, 3, 4, 6, 7, 8]
    assert [pace.seconds for pace in found] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])


def test_a_run_without_steps_has_no_file(tmp_path):
    PaceWriter(tmp_path / "pace.jsonl", 0).close()
    assert list(read_pace(tmp_path / "pace.jsonl")) == []
    assert not (tmp_path / "pace.jsonl").exists()
