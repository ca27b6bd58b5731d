"""Every option of the stages with a task reaches what is built, and their labels agree."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import ROOT, SHIPPED
from tests.stages.contexts import context_of
from tinybert.data.labels import encode_labels
from tinybert.distill.normalizers import label_inputs
from tinybert.distill.prediction import LabelTraining
from tinybert.errors import InputError
from tinybert.plan.plan import make_plan, read_checkpoints
from tinybert.recipe.load import load
from tinybert.recipe.network import head as head_of
from tinybert.stages import build, layers, tasks
from tinybert.train.effective import read_step
from tinybert.train.world import ALONE

FINETUNE = SHIPPED["tiny_finetune"]
DISTILL = SHIPPED["tiny_task_distill"].read_text()


def plan_of(*changes, recipe=FINETUNE):
    """Return the plan, which must have no problem."""
    plan, problems = make_plan(load(recipe, changes), ROOT)
    assert problems == []
    return plan


def problems_of(*changes, recipe=FINETUNE):
    _, problems = make_plan(load(recipe, changes), ROOT)
    return [str(problem) for problem in problems]


def network_of(plan, loaded=None):
    (which,) = plan.networks
    return tasks.task_network(plan, which, loaded or {})


def values_of(network):
    return {p.name: p.asnumpy() for p in network.get_parameters()}


@pytest.fixture(scope="module")
def plain():
    return values_of(network_of(plan_of()))


def test_the_head_has_a_row_a_label(plain):
    assert plain["teacher.classifier.weight"].shape == (2, 48)
    changes = ("task.num_labels=1", 'task.task_type="regression"')
    changes += ('task.assessment_method="pearson"', "expect.metrics=")
    plan, _ = make_plan(load(FINETUNE, changes), ROOT)
    assert values_of(network_of(plan))["teacher.classifier.bias"].shape == (1,)


@pytest.mark.parametrize(("kind", "relu"), [("linear", False), ("relu_linear", True)])
def test_the_kind_of_head_reaches_the_network(kind, relu):
    assert network_of(plan_of(f'teacher.head="{kind}"')).relu == relu


def test_dropout_of_the_classifier_reaches_the_masks():
    def mean(plan):
        (phase,) = plan.phases
        feed = tasks.task_feed(context_of(plan), phase, "teacher", label_inputs)
        mask = feed(0).parts[0].classifier_keep
        return None if mask is None else mask.mean()

    assert mean(plan_of()) == pytest.approx(0.9, abs=0.05)
    assert mean(plan_of("teacher.classifier_dropout_prob=0.5")) == pytest.approx(0.5, abs=0.05)
    assert mean(plan_of("teacher.classifier_dropout_prob=0.0")) is None


def test_the_seeds_embeddings_begin_narrower_and_nothing_else_changes(plain):
    narrow = values_of(network_of(plan_of("teacher.embedding_initializer_range=0.01")))
    for name, value in plain.items():
        if name.startswith("teacher.embeddings.") and "LayerNorm" not in name:
            np.testing.assert_allclose(narrow[name] * 2, value, rtol=1e-6)
        else:
            assert np.array_equal(narrow[name], value)


def test_the_padding_of_a_teacher_that_is_fine_tuned_reaches_the_network():
    for changes, built in (((), {}), (("teacher.padding_idx=0",), {"teacher": 0})):
        plan = plan_of(*changes)
        (phase,) = plan.phases
        network = LabelTraining(network_of(plan), plan.resolved.recipe.task.task_type)
        assert read_step(build.training_step(network, phase, ALONE)).padding_idx == built


def test_dropped_rows_of_the_dev_set_are_an_option():
    for changes, rows in (((), 59), (("data.eval_drop_remainder=true",), 48)):
        plan = plan_of(*changes)
        (phase,), network = plan.phases, network_of(plan)
        selection = tasks.best_metric(context_of(plan), plan.resolved.recipe, network, phase)
        evaluation = selection.metrics.__self__
        evaluation.inference.predict = lambda batch: batch.input_ids[:, :2] * 1.0
        assert len(evaluation.logits()[0]) == rows


def test_what_the_recipe_asks_to_train_is_what_is_trained():
    for changes in ((), ("task.num_labels=2", 'task.task_type="ner"')):
        plan, _ = make_plan(load(FINETUNE, changes), ROOT)
        recipe, (phase,) = plan.resolved.recipe, plan.phases
        network = LabelTraining(network_of(plan), recipe.task.task_type)
        step = build.training_step(network, phase, ALONE)
        groups = read_step(step).optimizer.decay_groups
        built = sorted(name for names in groups.values() for name in names)
        assert built == sorted(tasks.trained_names(plan, "teacher"))
        assert ("teacher.pooler.dense.weight" in built) == (not changes)


def write_checkpoint(path, plan, which, *, labels=None, head=True, extra=()):
    """Write seeded weights of a network as a checkpoint; returns them."""
    given = head_of(plan.resolved.recipe, which) if head else None
    arrays = build.first_weights(plan, which, {}, given) | dict(extra)
    save_file(arrays, path, metadata=encode_labels(labels))
    return arrays


def distill_recipe(tmp_path, phases=("phase1", "phase2")):
    """Write a task distillation whose networks come from files in `tmp_path`."""
    text = DISTILL.partition("\n[expect]")[0]
    for which, recipe in (("teacher", "tiny/tiny_finetune"), ("student", "tiny")):
        path = json.dumps(str(tmp_path / f"{which}.safetensors"))
        text = text.replace(f'{{ recipe = "recipes/{recipe}.toml" }}', path)
    if "phase2" not in phases:
        head, _, tail = text.partition("[phase2]")
        text = head + "[topology]" + tail.partition("[topology]")[2]
    (tmp_path / "distill.toml").write_text(text)
    return tmp_path / "distill.toml"


@pytest.fixture
def distill(tmp_path):
    """A recipe of both phases whose checkpoints are there, with all that they hold."""
    recipe = distill_recipe(tmp_path)
    plan, problems = make_plan(load(recipe), ROOT)
    assert [problem.message for problem in problems] == ["no such checkpoint"] * 2
    fit = {
        "fit_dense.weight": np.full((48, 24), 0.5, np.float32),
        "fit_dense.bias": np.ones(48, np.float32),
        "adam_m.fit_dense.bias": np.zeros(48, np.float32),
    }
    labels = ("indoors", "outdoors")
    teacher = write_checkpoint(tmp_path / "teacher.safetensors", plan, "teacher", labels=labels)
    student = write_checkpoint(
        tmp_path / "student.safetensors", plan, "student", head=False, extra=fit
    )
    return recipe, teacher, student


def test_a_teacher_brings_its_head_and_a_student_begins_with_a_new_one(distill):
    recipe, teacher, student = distill
    plan = plan_of(recipe=recipe)
    loaded = read_checkpoints(plan)
    assert np.array_equal(
        loaded["teacher"].arrays["teacher.classifier.weight"], teacher["teacher.classifier.weight"]
    )
    assert "student.classifier.weight" not in loaded["student"].arrays
    values = values_of(tasks.task_network(plan, "student", loaded))
    assert values["student.classifier.weight"].std() == pytest.approx(0.0176, rel=0.3)
    name = "student.encoder.layer.1.output.dense.weight"
    assert np.array_equal(values[name], student[name])


def test_the_seeds_warmup_of_phase_1_is_a_share_of_one_epoch(distill, tmp_path):
    text = distill[0].read_text()
    run = tmp_path / "run.toml"
    run.write_text(text.replace("warmup_epoch_ratio = 0.1", "warmup_ratio = 0.1"))
    epoch, whole = (plan_of(recipe=path).phases[0].schedule for path in (distill[0], run))
    assert (epoch.warmup_steps, whole.warmup_steps) == (2, 4)  # of 22 and of 44 steps
    assert epoch(2) > whole(2)


def test_the_projection_goes_on_from_the_students_checkpoint(distill):
    plan = plan_of(recipe=distill[0])
    table = plan.resolved.recipe.phase1.distill
    fit = layers.build_distiller(plan, table, read_checkpoints(plan)).fit
    assert {float(p.asnumpy().mean()) for p in fit.get_parameters()} == {0.5, 1.0}
    fresh = layers.build_distiller(plan, table, {}).fit
    assert float(fresh.projections[0].bias.asnumpy().mean()) == 0.0


def test_a_projection_between_other_networks_is_refused(distill, tmp_path):
    recipe, _, student = distill
    student["fit_dense.weight"] = np.zeros((32, 24), np.float32)
    save_file(student, tmp_path / "student.safetensors")
    plan = plan_of(recipe=recipe)
    with pytest.raises(InputError) as caught:
        read_checkpoints(plan)
    assert caught.value.message == (
        "the weights do not fit the network:\n  shape: fit_dense.weight is (32, 24), not (48, 24)"
    )
    assert caught.value.where == str(tmp_path / "student.safetensors")


def test_a_teacher_without_head_is_refused(distill, tmp_path):
    recipe, teacher, _ = distill
    bare = {name: value for name, value in teacher.items() if "classifier" not in name}
    save_file(bare, tmp_path / "teacher.safetensors")
    with pytest.raises(InputError) as caught:
        read_checkpoints(plan_of(recipe=recipe))
    assert caught.value.message == (
        "the weights do not fit the network:\n"
        "  missing: classifier.weight (2, 48)\n  missing: classifier.bias (2,)"
    )


def test_a_teacher_of_another_label_order_is_refused_where_its_head_is_used(distill, tmp_path):
    recipe, teacher, _ = distill
    metadata = encode_labels(("outdoors", "indoors"))
    save_file(teacher, tmp_path / "teacher.safetensors", metadata=metadata)
    (problem,) = problems_of(recipe=recipe)
    assert problem == (
        "the labels are `outdoors`, `indoors`; those of the records are `indoors`, `outdoors`\n"
        f"  --> {tmp_path}/teacher.safetensors\n"
        "help: let both have one order: prepare the records anew with --labels or --labels-from, "
        "for `prepare glue` with --label-names; or say in [task] what the records' labels are "
        'called: label_names = { records_name = "name" }'
    )
    assert problems_of(recipe=distill_recipe(tmp_path, phases=("phase1",))) == []


def test_the_number_of_labels_is_that_of_the_records():
    (problem,) = problems_of("task.num_labels=3")
    assert problem == (
        "num_labels is 3; the records have 2 labels: `indoors`, `outdoors`\n"
        "help: write `num_labels = 2` in [task]"
    )


def test_entities_need_the_names_of_tags(tmp_path):
    for part in ("train", "dev"):
        (tmp_path / part).mkdir()
        for name in ("records-00000.tfrecord", "schema.json"):
            content = (ROOT / "recipes/tiny/places" / part / name).read_bytes()
            content = content.replace(b'"shape": [1]}', b'"shape": [32]}')
            (tmp_path / part / name).write_bytes(content)
    text = FINETUNE.read_text().replace("recipes/tiny/places", str(tmp_path))
    (tmp_path / "ner.toml").write_text(text.partition("\n[expect]")[0])
    changes = ('task.task_type="ner"', 'task.assessment_method="entity_f1"')
    (problem,) = problems_of(*changes, recipe=tmp_path / "ner.toml")
    assert problem == (
        "entity_f1 needs the names of the tags, and the records do not say them\n"
        "help: make the records with `prepare ner`, or measure accuracy or mf1"
    )
