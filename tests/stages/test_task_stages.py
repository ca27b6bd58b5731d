"""Options of the stages with a task show in what each stage trains and measures."""

import json
from types import SimpleNamespace

import pytest
from safetensors.numpy import save_file

from tests.conftest import ROOT, SHIPPED
from tests.stages.contexts import context_of
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load
from tinybert.recipe.network import ROLES, head
from tinybert.stages import build, finetune, task_distill
from tinybert.stages.evaluate import evaluate
from tinybert.train.effective import read_step
from tinybert.train.evaluation import Evaluation
from tinybert.train.world import ALONE

teach, distil = finetune.finetune, task_distill.task_distill
ROWS, WHOLE_BATCHES = 59, 48
"""Of the dev set: all, and those in full batches of 16."""
AFTER = {"phase1": "[phase2]", "phase2": "[topology]"}
"""What follows each phase in the recipe."""


class ReachedError(Exception):
    """Ends a stage where it would train or measure, with what it would use."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Seeded checkpoints with heads; returns their folder."""
    folder = tmp_path_factory.mktemp("weights")
    plan, _ = make_plan(load(SHIPPED["tiny_task_distill"]), ROOT)
    for which in ROLES:
        arrays = build.first_weights(plan, which, {}, head(plan.resolved.recipe, which))
        save_file(arrays, folder / f"{which}.safetensors")
    return folder


@pytest.fixture
def reached(weights, tmp_path, monkeypatch):
    """Carry out a tiny recipe up to a training, or its evaluation; returns what it would use."""
    passed = []

    def end(*arguments, **options):
        if passed:
            return passed.pop()
        raise ReachedError(arguments)

    for module in (finetune, task_distill):
        monkeypatch.setattr(module, "run_training", end)
    monkeypatch.setattr(Evaluation, "logits", end)
    inputs, outcome = SimpleNamespace(files=[]), SimpleNamespace(checkpoints=[])
    manifest = SimpleNamespace(inputs=inputs, outcome=outcome)  # of a new run
    record = SimpleNamespace(
        directory=tmp_path, manifest=manifest, start=lambda effective, environment: None
    )

    def carry_out(stage, name, *changes, without="", phases_before=0, as_student=False):
        passed[:] = [SimpleNamespace(steps=44, finished=True, stopped=False)] * phases_before
        text = SHIPPED[name].read_text().partition("\n[expect]")[0]
        for which, parent in (
            ("teacher", "tiny/tiny_finetune"),
            ("student", "tiny/tiny_task_distill"),
            ("student", "tiny"),
        ):
            link = f'{{ recipe = "recipes/{parent}.toml" }}'
            text = text.replace(link, json.dumps(str(weights / f"{which}.safetensors")))
        if as_student:
            text = text.replace("[teacher]", "[student]")
        if without:
            text = text[: text.index(f"[{without}]")] + text[text.index(AFTER[without]) :]
        (tmp_path / "recipe.toml").write_text(text)
        plan, problems = make_plan(load(tmp_path / "recipe.toml", changes), ROOT)
        assert problems == []
        with pytest.raises(ReachedError) as caught:
            stage(plan.resolved.recipe, context_of(plan, record))
        return caught.value.args[0]

    return carry_out


def losses(training):
    """Return what the network of a training gives for its first batch."""
    inputs = training.feed(0).parts[0].tensors()
    return [float(output) for output in training.network(*inputs)]


def measured_rows(evaluation, monkeypatch):
    monkeypatch.undo()
    evaluation.inference.predict = lambda batch: batch.input_ids[:, :2] * 1.0
    return len(evaluation.logits()[0])


@pytest.mark.parametrize(
    ("stage", "name", "key", "options"),
    [
        (teach, "tiny_finetune", "eval_drop_remainder", {}),
        (
            task_distill.task_distill,
            "tiny_task_distill",
            "eval_drop_remainder",
            {"without": "phase1"},
        ),
        (evaluate, "tiny_evaluate", "drop_remainder", {}),
    ],
    ids=["finetune", "task_distill", "evaluate"],
)
@pytest.mark.parametrize(("value", "rows"), [("false", ROWS), ("true", WHOLE_BATCHES)])
def test_dropped_rows_of_the_dev_set_are_not_measured(
    reached, monkeypatch, stage, name, key, options, value, rows
):
    found = reached(stage, name, f"data.{key}={value}", **options)
    evaluation = found[0] if stage is evaluate else found[1].selection.metrics.__self__
    assert measured_rows(evaluation, monkeypatch) == rows


def test_temperature_and_share_of_labels_reach_phase_2(reached):
    def phase2(*changes):
        return losses(reached(distil, "tiny_task_distill", *changes, without="phase1")[1])

    plain, soft, hard = phase2()
    assert plain == soft != hard
    loss, warm, same = phase2(
        "phase2.distill.temperature=4.0", "phase2.distill.hard_label_weight=0.25"
    )
    assert same == hard
    assert warm != soft
    assert loss == pytest.approx(0.75 * warm + 0.25 * hard, rel=1e-6)
    _, squared, _ = phase2(
        "phase2.distill.temperature=4.0",
        "phase2.distill.hard_label_weight=0.25",
        "phase2.distill.temperature_squared=true",
    )
    assert squared == pytest.approx(16 * warm, rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        'layer_map="top"',
        "layer_map=[1, 4]",
        "weights.attention=2.0",
        "weights.hidden=2.0",
        'padding="ignore"',
        'fit_dense="per_layer"',
    ],
)
def test_options_of_the_layers_reach_phase_1(reached, change):
    def phase1(*changes):
        return losses(reached(distil, "tiny_task_distill", *changes, without="phase2")[1])

    assert phase1(f"phase1.distill.{change}")[0] != phase1()[0]


def test_each_phase_has_batch_optimizer_and_loss_scale_of_its_own(reached):
    changes = [
        "phase2.global_batch_size=8",
        "phase2.optimizer.weight_decay=0.5",
        "phase2.loss_scale.loss_scale_value=4",
    ]

    def facts(phases_before):
        _, training, *_ = reached(
            distil, "tiny_task_distill", *changes, phases_before=phases_before
        )
        step = build.training_step(training.network, training.phase, ALONE)
        built = read_step(step)
        decays = set(built.optimizer.decay_groups)
        rows = len(training.feed(0).parts[0].input_ids)
        return rows, decays, built.loss_scale.loss_scale_value

    assert facts(0) == (16, {"0.0", "0.0001"}, 65536.0)
    assert facts(1) == (8, {"0.0", "0.5"}, 4.0)


def test_a_student_may_be_fine_tuned(reached):
    _, training, *_ = reached(teach, "tiny_finetune", as_student=True)
    assert {name.split(".")[0] for name in training.trained} == {"student"}
    (loss,) = losses(training)
    assert loss == pytest.approx(0.69, abs=0.1)  # -ln(1/2): it knows nothing yet
