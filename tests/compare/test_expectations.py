import shutil
from pathlib import Path
from typing import Any

import pytest

from tinybert.compare.expectations import expectation_failures
from tinybert.compare.verify import verify
from tinybert.manifest.document import Run


def failures_of(path: Path) -> list[str]:
    return [failure.message for failure in expectation_failures(Run.load(path))]


METRIC = 15.66605
EXPECTATIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all holds": (
        {"finite_loss": True, "steps": 12, "metrics": {"loss": {"min": METRIC, "max": METRIC}}},
        [],
    ),
    "steps": ({"steps": 13}, ["12 steps ran, not 13"]),
    "below": ({"metrics": {"loss": {"min": 17.0}}}, [f"loss is {METRIC}, below 17.0"]),
    "above": ({"metrics": {"loss": {"max": 15.0}}}, [f"loss is {METRIC}, above 15.0"]),
    "unknown": (
        {"metrics": {"attention_loss": {"min": 0.5}}},
        ["there is no metric attention_loss, only loss, hidden_loss, mean_loss, mean_hidden_loss"],
    ),
    "several": (
        {"steps": 1, "metrics": {"loss": {"max": 15.0}}},
        ["12 steps ran, not 1", f"loss is {METRIC}, above 15.0"],
    ),
}


@pytest.mark.parametrize(("expect", "failures"), EXPECTATIONS.values(), ids=EXPECTATIONS)
def test_expectations(pretend: Any, expect: dict[str, Any], failures: list[str]) -> None:
    path = pretend("a", expect=expect).run()
    assert failures_of(path) == failures
    text, code = verify(path)
    assert code == (1 if failures else 0)
    assert all(f"[expect] {failure}" in text for failure in failures)


def test_a_failure_names_its_key(pretend: Any) -> None:
    bounds = {"loss": {"max": 99.0}, "attention_loss": {"min": 0.5}, "hidden_loss": {"max": 1.0}}
    path = pretend("a", expect={"steps": 13, "metrics": bounds}).run()
    failures = expectation_failures(Run.load(path))
    assert [failure.key for failure in failures] == [
        "steps",
        "metrics.attention_loss",
        "metrics.hidden_loss",
    ]


def test_losses_that_are_not_finite_fail_where_they_must_be(pretend: Any) -> None:
    run = pretend("a", expect={"finite_loss": True, "metrics": {"loss": {"max": 1e9}}})
    run.noise = float("inf")
    # noise * 0 is not a number, and every later loss is infinite
    assert failures_of(run.run()) == [
        "the loss was not finite in 12 steps",
        "loss is inf, above 1000000000.0",
    ]


def with_reference(pretend: Any, expect: dict[str, Any], **facts: Any) -> list[str]:
    reference = pretend("reference").run()
    run = pretend("a", expect={"reference": "manifests/tiny.reference.json", **expect}, **facts)
    (run.root / "manifests").mkdir(parents=True)
    shutil.copy(reference, run.root / "manifests" / "tiny.reference.json")
    return failures_of(run.run())


def test_a_reference_that_is_met(pretend: Any) -> None:
    assert with_reference(pretend, {}) == []


def test_a_reference_on_an_equal_environment_is_met_bit_for_bit(pretend: Any) -> None:
    tolerance = {"tolerance": {"relative": 1.0, "absolute": 1.0}}
    assert with_reference(pretend, tolerance, noise=1e-9) == [
        "the outcome is not that of tiny.reference.json, on an equal environment"
    ]


@pytest.mark.parametrize(("noise", "met"), [(1e-9, True), (1e-2, False)])
def test_a_reference_on_another_environment_is_met_within_tolerance(
    pretend: Any, noise: float, met: bool
) -> None:
    tolerance = {"tolerance": {"relative": 1e-6, "absolute": 0.0}}
    failures = with_reference(pretend, tolerance, noise=noise, numpy="1.26.3")
    expected = (
        "out of tolerance of A = tiny.reference.json: metrics.loss: 15.66605 in A, 15.77605 in B"
    )
    assert failures[:1] == ([] if met else [expected])


@pytest.mark.parametrize("micro_batches", [4, None])
def test_a_reference_on_other_processes_is_met_bit_for_bit_by_micro_batches(
    pretend: Any, micro_batches: int | None
) -> None:
    reference, run = pretend("reference"), pretend("a")
    run.expect = {
        "reference": "manifests/tiny.reference.json",
        "tolerance": {"relative": 1.0, "absolute": 1.0},
    }
    run.use_two_processes()
    for each in (reference, run) if micro_batches else ():
        each.cut(micro_batches)
    run.noise = 1e-9
    (run.root / "manifests").mkdir(parents=True)
    shutil.copy(reference.run(), run.root / "manifests" / "tiny.reference.json")
    expected = "the outcome is not that of tiny.reference.json, on an equal environment"
    assert failures_of(run.run()) == ([expected] if micro_batches else [])


def test_a_reference_without_tolerance(pretend: Any) -> None:
    assert with_reference(pretend, {}, noise=1e-9, numpy="1.26.3") == [
        "the outcome is not that of tiny.reference.json, and [expect] has no tolerance"
    ]


def test_a_missing_reference(pretend: Any) -> None:
    path = pretend("a", expect={"reference": "manifests/gone.json"}).run()
    place = path.parent.parent / "manifests" / "gone.json"
    assert failures_of(path) == [
        f"reference: cannot read the manifest: no such file or directory ({place})"
    ]
