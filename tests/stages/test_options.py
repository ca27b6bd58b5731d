"""Every option of a general distillation reaches what is built: ignoring one fails its test."""

from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.stages.contexts import context_of
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load
from tinybert.stages import build, layers
from tinybert.train.effective import read_step
from tinybert.train.world import ALONE

ROOT = Path(__file__).parents[2]
TINY = ROOT / "recipes" / "tiny.toml"


class Built:
    """What the tiny recipe with some changes builds, up to the first forward pass."""

    def __init__(self, *changes, recipe=TINY):
        resolved = load(recipe, changes)
        self.plan, problems = make_plan(resolved, ROOT)
        assert problems == []
        self.recipe, (self.phase,) = resolved.recipe, self.plan.phases
        context, table = context_of(self.plan), self.recipe.distill
        self.distiller = layers.build_distiller(self.plan, table, context.loaded)
        self.step = build.training_step(self.distiller, self.phase, ALONE)
        self.feed = layers.layer_training(context, self.phase, table, self.distiller).feed

    def facts(self):
        return asdict(read_step(self.step))

    def shapes(self):
        return {p.name: tuple(p.shape) for p in self.distiller.get_parameters()}

    def values(self):
        return {p.name: p.asnumpy() for p in self.distiller.get_parameters()}

    def batch(self, step=0):
        return self.feed(step).parts[0]

    @cached_property
    def losses(self):
        return [output.asnumpy().item() for output in self.distiller(*self.batch().tensors())]


@pytest.fixture(scope="module")
def tiny():
    return Built()


@pytest.mark.parametrize(
    ("change", "path", "expected"),
    [
        ("training.train_steps=50", "total_steps", 50),
        ("optimizer.schedule.warmup_ratio=0.5", "warmup_steps", 24),
        ("optimizer.schedule.learning_rate=0.5", "learning_rates.4", 0.5 * 44 / 48),
        ("optimizer.schedule.end_learning_rate=1e-4", "learning_rates.47", 9e-4 / 48 + 1e-4),
        ("optimizer.schedule.power=2.0", "learning_rates.4", 1e-3 * (44 / 48) ** 2),
        ('optimizer.schedule.decay_from="warmup_end"', "learning_rates.4", 1e-3),
        ('optimizer.schedule.decay_from="warmup_end"', "learning_rates.23", 1e-3 * 25 / 44),
        ('optimizer.schedule.decay_from="warmup_end"', "decay_start", 4),
        ('optimizer.schedule.decay_from="start"', "learning_rates.4", 1e-3 * 44 / 48),
        ('optimizer.schedule.decay_from="start"', "decay_start", 0),
        ("network.num_attention_heads=2", "num_attention_heads", {"teacher": 2, "student": 2}),
        ("seed=1", "padding_idx", {}),
        ("student.padding_idx=0", "padding_idx", {"student": 0}),
        ("optimizer.weight_decay=0.5", "optimizer.decay_groups", {"0.0", "0.5"}),
        ('optimizer.no_decay=["fit"]', "optimizer.decay_groups.0.0", 2),
        ("optimizer.eps=1e-8", "optimizer.eps", 1e-8),
        ("optimizer.betas=[0.8, 0.99]", "optimizer.betas", [0.8, 0.99]),
        ("optimizer.clip_norm=0.5", "optimizer.clip_norm", 0.5),
        ("seed=1", "optimizer.clip_by", "norm"),
        ('optimizer.clip_by="norm"', "optimizer.clip_by", "norm"),
        ('optimizer.clip_by="global_norm"', "optimizer.clip_by", "global_norm"),
        ("seed=1", "optimizer.bias_correction", False),
        ("optimizer.bias_correction=false", "optimizer.bias_correction", False),
        ("optimizer.bias_correction=true", "optimizer.bias_correction", True),
        ("loss_scale.loss_scale_value=256", "loss_scale.loss_scale_value", 256.0),
        ("loss_scale.scale_factor=4", "loss_scale.scale_factor", 4.0),
        ("loss_scale.scale_window=50", "loss_scale.scale_window", 50),
    ],
)
def test_training_options_reach_the_step(change, path, expected):
    expectation = ("expect.steps=50",) if "train_steps" in change else ()
    value = Built(change, *expectation).facts()
    for key in path.split(".", 1) if "rates" in path else path.split(".", 2):
        value = value[key]
    if isinstance(expected, set):
        assert set(value) == expected
    elif path.endswith("0.0"):
        assert len(value) == expected
    elif isinstance(expected, float):
        assert value == pytest.approx(expected, rel=1e-6)
    else:
        assert value == expected


def test_epochs_become_steps(tmp_path):
    text = TINY.read_text().partition("[expect]")[0].replace("train_steps = 48", "epoch_size = 3")
    (tmp_path / "epochs.toml").write_text(text)
    built = Built(recipe=tmp_path / "epochs.toml")
    assert built.phase.total_steps == 3 * (411 // 16)
    keeping = Built("data.drop_remainder=false", recipe=tmp_path / "epochs.toml")
    assert keeping.phase.total_steps == 3 * (411 // 16 + 1)


def test_global_batch_size_is_the_rows_of_a_step(tiny):
    assert tiny.batch().input_ids.shape == (16, 32)
    assert Built("data.global_batch_size=8").batch().input_ids.shape == (8, 32)


@pytest.mark.parametrize(
    ("change", "name", "shape"),
    [
        ("teacher.hidden_size=64", "fit_dense.weight", (64, 24)),
        ("student.hidden_size=32", "student.pooler.dense.weight", (32, 32)),
        ("teacher.intermediate_size=20", "teacher.encoder.layer.3.output.dense.weight", (48, 20)),
        ("student.intermediate_size=20", "student.encoder.layer.1.output.dense.weight", (24, 20)),
        ("network.vocab_size=900", "student.embeddings.word_embeddings.weight", (900, 24)),
        (
            "network.max_position_embeddings=40",
            "student.embeddings.position_embeddings.weight",
            (40, 24),
        ),
        ("network.type_vocab_size=3", "student.embeddings.token_type_embeddings.weight", (3, 24)),
        (
            "network.use_relative_positions=true",
            "student.encoder.layer.0.attention.self.relative_positions.weight",
            (33, 6),
        ),
        ("student.num_hidden_layers=4", "student.encoder.layer.3.output.dense.bias", (24,)),
        ("teacher.num_hidden_layers=6", "teacher.encoder.layer.5.output.dense.bias", (48,)),
        ('distill.fit_dense="per_layer"', "fit_dense.2.weight", (48, 24)),
    ],
)
def test_sizes_reach_the_parameters(tiny, change, name, shape):
    assert tiny.shapes().get(name) != shape
    assert Built(change).shapes()[name] == shape


@pytest.mark.parametrize(
    "change",
    [
        "network.num_attention_heads=2",
        'network.hidden_act="relu"',
        "network.layer_norm_eps=0.01",
        "network.initializer_range=0.1",
        'network.compute_type="float16"',
        'network.dtype="float16"',
        "seed=2",
        'distill.layer_map="top"',
        "distill.layer_map=[1, 4]",
        "distill.weights.attention=2.0",
        "distill.weights.hidden=2.0",
        'distill.padding="ignore"',
        "data.input_mask_from_dataset=false",
        "student.hidden_dropout_prob=0.2",
        "student.attention_probs_dropout_prob=0.2",
    ],
)
def test_options_change_the_losses(tiny, change):
    losses = Built(change).losses
    assert losses != tiny.losses
    assert np.isfinite(losses).all()


def test_the_two_forms_of_gelu_differ():
    wide = "network.initializer_range=0.5"  # near 0 they agree to the last bit
    exact, tanh = (Built(wide, f'network.hidden_act="gelu{f}"') for f in ("", "_tanh"))
    assert exact.losses[0] != tanh.losses[0]
    assert exact.losses[0] == pytest.approx(tanh.losses[0], rel=1e-2)


def test_weights_of_the_loss_parts_are_factors(tiny):
    changes = ("distill.weights.attention=3.0", "distill.weights.hidden=0.5")
    loss, attention, hidden = Built(*changes).losses
    assert [attention, hidden] == tiny.losses[1:]
    assert loss == pytest.approx(3 * attention + 0.5 * hidden, rel=1e-6)


def test_segment_ids_may_be_left_out():
    assert not Built("data.token_type_ids_from_dataset=false").batch().segment_ids.any()


def test_fused_layernorm_is_the_same_arithmetic_on_a_cpu(tiny):
    built = Built("network.enable_fused_layernorm=true")
    assert built.distiller.student.config.enable_fused_layernorm
    assert built.losses == pytest.approx(tiny.losses, rel=1e-6)


def test_shuffling_is_a_new_order_every_epoch_and_may_be_off(tiny):
    epoch = tiny.phase.sampler.batches_per_epoch
    first, again = tiny.batch(0).input_ids, tiny.batch(epoch).input_ids
    assert not np.array_equal(first, again)
    plain = Built("data.do_shuffle=false")
    assert np.array_equal(plain.batch(0).input_ids, plain.batch(epoch).input_ids)
    assert not np.array_equal(plain.batch(0).input_ids, first)


def test_the_seed_changes_order_masks_and_weights(tiny):
    other = Built("seed=2")
    for name in ("input_ids", "hidden_keep", "attention_keep"):
        assert not np.array_equal(getattr(tiny.batch(), name), getattr(other.batch(), name))
    for name in ("student.pooler.dense.weight", "teacher.pooler.dense.weight", "fit_dense.weight"):
        assert not np.array_equal(tiny.values()[name], other.values()[name])


def test_without_dropout_no_mask_is_made():
    changes = ("student.hidden_dropout_prob=0.0", "student.attention_probs_dropout_prob=0.0")
    batch = Built(*changes).batch()
    assert batch.hidden_keep is batch.attention_keep is None


@pytest.mark.slow
def test_the_embedding_of_padding_learns_only_without_padding_idx():
    def moved(*changes):
        built = Built("optimizer.weight_decay=0.0", *changes)
        assert (built.batch().input_ids == 0).any()
        name = "student.embeddings.word_embeddings.weight"
        before = built.values()[name].copy()
        for step in range(2):  # the first has a rate of 0
            built.step.call([[built.batch(step)]], stop=False)
        return (built.values()[name] != before).any(axis=1)

    trained, frozen = moved(), moved("student.padding_idx=0")
    assert trained[0] and not frozen[0]
    assert np.array_equal(trained[1:], frozen[1:])
    assert trained[1:].any()


@pytest.mark.parametrize("which", ["teacher", "student"])
def test_checkpoints_are_where_weights_come_from(tiny, tmp_path, which):
    prefix = f"{which}."
    arrays = {n: v + 1 for n, v in tiny.values().items() if n.startswith(prefix)}
    save_file(arrays, tmp_path / "weights.safetensors")
    old = TINY.read_text()
    path = f'load_{which}_ckpt_path = "{tmp_path}/weights.safetensors"'
    head, tail = old.split(f"[{which}]\n")
    tail = tail.replace('init = "seeded"', path, 1)
    (tmp_path / "loaded.toml").write_text(f"{head}[{which}]\n{tail}")
    values = Built(recipe=tmp_path / "loaded.toml").values()
    for name, value in tiny.values().items():
        assert np.array_equal(values[name], value + 1 if name.startswith(prefix) else value)
