"""Which differences are the user's, and which follow from them."""

from tinybert.compare.causes import (
    BUILT,
    CODE,
    ENVIRONMENT,
    NOTE,
    OPTION,
    PARENT,
    SEED,
    WEIGHTS,
    Cause,
)
from tinybert.report.consequences import VALUES, explain_differences


def cause(path, rank):
    return Cause(path, "input", 1, 2, f"{path} differs", rank)


def option(key):
    return cause(VALUES + key, OPTION)


def built(name):
    return cause(f"effective.{name}", BUILT)


def found(*causes):
    """The paths of each root's consequences by its path, and of what none explains."""
    answer = explain_differences(causes)
    explained = {
        root.cause.path.rpartition("values.")[2]: root.consequences for root in answer.roots
    }
    return (
        {key: [each.path.partition(".")[2] for each in value] for key, value in explained.items()},
        [each.path.partition(".")[2] for each in answer.together],
    )


def test_what_an_option_changes_in_the_graph_is_folded_under_it():
    roots, together = found(
        option("optimizer.weight_decay"),
        option("training.epoch_size"),
        cause(f"{VALUES}seed", SEED),
        built("optimizer.decay_groups"),
        built("total_steps"),
        built("initial_weights"),
        built("graph_digest"),
    )
    assert roots == {
        "optimizer.weight_decay": ["optimizer.decay_groups"],
        "training.epoch_size": ["total_steps"],
        "seed": ["initial_weights"],
    }
    assert together == ["graph_digest"]


def test_everything_that_was_built_otherwise_follows_from_the_only_difference():
    roots, together = found(option("distill.temperature"), built("graph_digest"), built("rows"))
    assert roots == {"distill.temperature": ["graph_digest", "rows"]}
    assert together == []


def test_a_phase_has_its_own_consequences():
    roots, _ = found(
        option("phase1.optimizer.schedule.learning_rate"),
        option("phase2.optimizer.schedule.learning_rate"),
        built("phases.phase2.learning_rates"),
    )
    assert list(roots.values()) == [[], ["phases.phase2.learning_rates"]]


def test_what_a_run_ran_on_follows_from_an_option_that_asks_for_it():
    roots, _ = found(
        option("runtime.threads"),
        cause("environment.threads.operators", ENVIRONMENT),
        cause("environment.distributions.numpy", ENVIRONMENT),
        cause("inputs.code.digest", CODE),
    )
    assert roots == {
        "runtime.threads": ["threads.operators"],
        "environment.distributions.numpy": [],
        "inputs.code.digest": [],
    }


def test_other_weights_follow_from_another_run_of_the_teacher():
    roots, _ = found(
        cause("inputs.parents.teacher.outcome_digest", PARENT),
        cause("inputs.files.teacher.0.tensor_digest", WEIGHTS),
        cause("inputs.files.student.0.tensor_digest", WEIGHTS),
    )
    assert roots == {
        "inputs.parents.teacher.outcome_digest": ["files.teacher.0.tensor_digest"],
        "inputs.files.student.0.tensor_digest": [],
    }


def test_what_has_no_effect_is_folded_under_its_option_too():
    decay, library = cause("effective.optimizer.decay_groups.0.01", NOTE), cause("other", NOTE)
    answer = explain_differences([option("optimizer.weight_decay")], [decay, library])
    assert answer.roots[0].consequences == [decay]
    assert answer.harmless == [library]
