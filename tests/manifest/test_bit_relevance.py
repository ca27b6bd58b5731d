"""Which facts of an environment count, with portable and with native arithmetic."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fake_runs import ENVIRONMENT
from tinybert.compare.expectations import expectation_failures
from tinybert.compare.verdict import compare_pair
from tinybert.manifest.bit_relevance import bits_digest, is_bit_relevant
from tinybert.manifest.built import ArithmeticFacts, Environment, Processor, ThreadFacts
from tinybert.manifest.document import Run

PORTABLE = replace(
    ENVIRONMENT,
    arithmetic=ArithmeticFacts(form="portable", instruction_set="AVX2"),
    distributions={"numpy": "1.26.4", "rich": "14.0"},
    variables={"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
)
NATIVE = replace(PORTABLE, arithmetic=ArithmeticFacts(form="native", instruction_set="AVX2"))
WITHOUT_EFFECT = {
    "cpu": Processor(model="another", flags=["avx2", "avx512f", "fma"]),
    "threads": ThreadFacts(operators=2, processors=64),
    "python": "CPython 3.12.1",
    "distributions": {"numpy": "1.26.4", "rich": "15.0"},
    "variables": {"OMP_NUM_THREADS": "2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
WITH_EFFECT = {
    "platform": "Linux x86_64 glibc 2.41",
    "distributions": {"numpy": "1.26.3", "rich": "14.0"},
    "variables": {"OMP_NUM_THREADS": "1", "LD_PRELOAD": "other.so"},
    "determinism": {"mode": "pynative"},
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_circumstance_changes_no_portable_bit(name: str) -> None:
    other = {name: WITHOUT_EFFECT[name]}
    assert bits_digest(replace(PORTABLE, **other)) == bits_digest(PORTABLE)  # type: ignore[arg-type]
    assert bits_digest(replace(NATIVE, **other)) != bits_digest(NATIVE)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WITH_EFFECT)
def test_what_computes_counts(name: str) -> None:
    other = replace(PORTABLE, **{name: WITH_EFFECT[name]})  # type: ignore[arg-type]
    assert bits_digest(other) != bits_digest(PORTABLE)


def test_an_older_manifest_knows_of_no_circumstances() -> None:
    assert is_bit_relevant(ENVIRONMENT, "cpu.model")
    assert not is_bit_relevant(PORTABLE, "cpu.model")


def run_on(pretend: Any, root: str, environment: Environment, **facts: Any) -> Run:
    run = pretend(root, **facts)
    run.environment = lambda: environment
    return Run.load(run.run())


def test_a_difference_lists_the_processor_as_one_without_effect(pretend: Any) -> None:
    a = run_on(pretend, "a", PORTABLE, weight_decay=1e-3)
    b = run_on(pretend, "b", replace(PORTABLE, **WITHOUT_EFFECT))  # type: ignore[arg-type]
    comparison = compare_pair(a, b)
    assert [cause.path for cause in comparison.causes] == [
        "inputs.recipe.values.optimizer.weight_decay"
    ]
    assert {cause.path for cause in comparison.harmless} >= {
        "environment.cpu.model",
        "environment.threads.operators",
        "environment.python",
    }


def test_with_portable_arithmetic_all_that_was_built_counts_but_for_harmless_processes(
    pretend: Any,
) -> None:
    a, b = pretend("a"), pretend("b")
    for run in (a, b):
        run.environment = lambda: PORTABLE
        run.cut(4)
    b.use_two_processes()
    effective = replace(b.effective(), warmup_steps=3, graph_digest="another")
    b.effective = lambda: effective
    comparison = compare_pair(Run.load(a.run()), Run.load(b.run()))
    built = {cause.path for cause in comparison.causes}
    assert built == {"effective.warmup_steps", "effective.graph_digest"}
    harmless = {cause.path for cause in comparison.harmless}
    assert {"effective.topology.processes", "environment.topology.processes"} <= harmless


def test_a_portable_reference_is_met_bit_for_bit_on_another_processor(pretend: Any) -> None:
    reference = run_on(pretend, "a", PORTABLE)
    expect = {
        "reference": str(reference.path),
        "tolerance": {"relative": 1.0, "absolute": 1.0},
    }
    other = replace(PORTABLE, cpu=WITHOUT_EFFECT["cpu"])  # type: ignore[arg-type]
    run = run_on(pretend, "b", other, noise=1e-9, expect=expect)
    failure = f"the outcome is not that of {reference.path.name}, on an equal environment"
    assert [each.message for each in expectation_failures(run)] == [failure]
    native = run_on(pretend, "c", NATIVE, noise=1e-9, expect=expect)
    assert expectation_failures(native) == []
