"""Profiling shows the calls that were asked for, and changes nothing else."""

import csv

import pytest


@pytest.fixture(scope="module")
def profiled(runner):
    """Return the folder of a profiled run of the shipped recipe, whose [expect] held."""
    arguments = ("recipes/tiny.toml", "--root", runner.root, "--fresh", "--profile", 3)
    code, out, err = runner(*arguments)
    assert code == 0, err
    (line,) = out.splitlines()  # what the profiler prints is no result
    return runner.root / "runs" / "tiny" / line.removesuffix(".json").split("tiny-")[1]


def test_each_operator_of_the_step_was_timed_in_three_calls(profiled):
    (table,) = profiled.glob("profile/*/FRAMEWORK/cpu_op_type_info_*.csv")
    with table.open() as file:
        counts = {row["op_type"]: int(row["type_occurrences"]) for row in csv.DictReader(file)}
    assert counts["MatMul"] > 0
    assert {count % 3 for count in counts.values()} == {0}  # all as often in every call
    (timeline,) = profiled.glob("profile/*/ASCEND_PROFILER_OUTPUT/trace_view.json")
    assert timeline.stat().st_size > 0


def test_a_profile_of_nothing_is_a_mistake(runner):
    code, out, err = runner("recipes/tiny.toml", "--profile", 0)
    assert (code, out) == (2, "")
    assert err == "error: no profile of 0 steps\nhelp: give 1 or more\n"
