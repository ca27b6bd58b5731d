"""Runs on different numbers of processes are compared by what they saw."""

import re
from dataclasses import replace
from typing import Any

import pytest

from tinybert.compare.verdict import compare_pair
from tinybert.manifest.built import TrainingFacts
from tinybert.manifest.document import Run
from tinybert.report.text import diff


def across(pretend: Any, **facts: Any) -> tuple[str, int]:
    a, b = pretend("a"), pretend("b")
    effective = replace(b.effective(), **facts)
    b.effective = lambda: effective
    b.noise = 1e-7  # another order of the reduction
    text, code = diff(a.run(), b.run(), across_topology=True)
    return text.partition("\n")[0], code


def test_topologies_that_saw_the_same_are_equal(pretend: Any) -> None:
    first, code = across(pretend, parameters={"student": 1})
    assert re.fullmatch(
        "equal: the same samples in the same order, initial weights and masks; "
        r"losses within \S+e-0[78] relative",
        first,
    )
    assert code == 0


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"global_batch_size": 8}, "another global batch size"),
        ({"initial_weights": {"student": "x"}}, "another initial weights"),
        ({"masks": {"embeddings": "x"}}, "another masks"),
    ],
)
def test_topologies_that_differ_say_in_what(
    pretend: Any, facts: dict[str, Any], expected: str
) -> None:
    first, code = across(pretend, **facts)
    assert first.startswith(f"different: {expected}")
    assert code == 1


def test_topologies_with_another_order_say_so(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b", order=[1, 0, *range(2, 12)]).run()
    text, code = diff(a, b, across_topology=True)
    assert text.startswith("different: another order of the samples from step 1\n")
    assert code == 1


def test_what_was_not_recorded_cannot_be_compared_across_topologies(pretend: Any) -> None:
    first, code = across(pretend, masks=None)
    assert first.startswith("incomparable: not recorded: masks")
    assert code == 2


def test_a_later_phase_may_begin_from_weights_that_were_rounded_otherwise(pretend: Any) -> None:
    def phases(first: str, second: str) -> dict[str, TrainingFacts]:
        facts = TrainingFacts(global_batch_size=4, masks={"step 0": "m"})
        weights = {"phase1": first, "phase2": second}
        return {name: replace(facts, initial_weights={"student": w}) for name, w in weights.items()}

    def verdict(names: tuple[str, str], *later: str) -> str:
        runs = [pretend(name) for name in names]
        for run, first, second in zip(runs, later[:2], later[2:], strict=True):
            effective = replace(run.effective(), phases=phases(first, second))
            run.effective = lambda effective=effective: effective
        text, _ = diff(*(run.run() for run in runs), across_topology=True)
        return text.partition(":")[0]

    assert verdict(("a", "b"), "w", "w", "v", "u") == "equal"
    assert verdict(("c", "d"), "w", "x", "v", "v") == "different"


def test_topologies_whose_losses_part_by_more_than_rounding_are_different(pretend: Any) -> None:
    a, b = pretend("a"), pretend("b")
    b.noise = 0.02
    text, code = diff(a.run(), b.run(), across_topology=True)
    assert code == 1
    assert re.match(r"different: losses 0\.0\d+ apart, relative; the limit is 0\.001\n", text), text


@pytest.mark.parametrize("parts", [(4, 4), (4, 2), (None, None)])
def test_the_number_of_processes_is_no_cause_where_micro_batches_are_equal(
    pretend: Any, parts: tuple[int | None, int | None]
) -> None:
    runs = [pretend(name) for name in "ab"]
    for run, count in zip(runs, parts, strict=True):
        if count is not None:
            run.cut(count)
    runs[1].use_two_processes()
    runs[1].noise = 1e-7  # so that there must be a cause
    comparison = compare_pair(*(Run.load(run.run()) for run in runs))
    processes = {
        "inputs.recipe.values.topology.devices_per_host",
        "inputs.recipe.values.topology.device_count",
        "inputs.recipe.values.data.batch_size",
        "effective.topology.processes",
        "environment.topology.processes",
    }
    causes = {cause.path for cause in comparison.causes}
    assert comparison.verdict == "different"
    if parts == (4, 4):
        assert {cause.path for cause in comparison.harmless} == processes
        assert causes == set()
    else:
        assert processes <= causes


def test_equal_outcomes_of_micro_batches_are_bitwise_whatever_the_topology(pretend: Any) -> None:
    runs = [pretend(name) for name in "ab"]
    for run in runs:
        run.cut(4)
    runs[1].use_two_processes()
    text, code = diff(*(run.run() for run in runs))
    assert text.startswith("bitwise: the outcomes are equal\n")
    assert code == 0
