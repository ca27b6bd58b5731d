"""A network's keys come from its own table or from `[network]`."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tinybert.errors import RecipeError
from tinybert.recipe.load import load
from tinybert.recipe.network import NetworkConfig, network

BASES = Path(__file__).parent / "bases"
STUDENT = NetworkConfig(
    vocab_size=1000,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    hidden_act="gelu_tanh",
    layer_norm_eps=1e-7,
    max_position_embeddings=32,
    type_vocab_size=2,
    initializer_range=0.02,
    use_relative_positions=False,
    enable_fused_layernorm=False,
    dtype="float32",
    compute_type="float32",
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
)


def test_a_student_has_its_sizes_and_dropout():
    assert network(load(BASES / "general_distill.toml").recipe, "student") == STUDENT


def test_a_frozen_teacher_has_no_dropout():
    assert network(load(BASES / "general_distill.toml").recipe, "teacher") == replace(
        STUDENT,
        hidden_size=48,
        num_hidden_layers=4,
        intermediate_size=96,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def test_a_key_may_move_into_both_networks(tmp_path):
    text = (BASES / "general_distill.toml").read_text()
    text = text.replace('hidden_act = "gelu_tanh"\n', "")
    text = text.replace("[teacher]", '[teacher]\nhidden_act = "gelu"')
    text = text.replace("[student]", '[student]\nhidden_act = "relu"')
    (tmp_path / "x.toml").write_text(text)
    recipe = load(tmp_path / "x.toml").recipe
    assert network(recipe, "teacher").hidden_act == "gelu"
    assert network(recipe, "student") == replace(STUDENT, hidden_act="relu")


def with_heads(base, teacher, student):
    """Return the text of a recipe whose networks have numbers of heads of their own."""
    text = re.sub("num_attention_heads = .*\n", "", (BASES / f"{base}.toml").read_text())
    text = text.replace("[teacher]", f"[teacher]\nnum_attention_heads = {teacher}")
    return text.replace("[student]", f"[student]\nnum_attention_heads = {student}")


def heads(recipe):
    return [network(recipe, role).num_attention_heads for role in ("teacher", "student")]


def test_heads_may_differ_where_the_attention_loss_has_no_weight(tmp_path):
    text = with_heads("general_distill", 4, 2).replace("attention = 1.0", "attention = 0.0")
    (tmp_path / "x.toml").write_text(text)
    assert heads(load(tmp_path / "x.toml").recipe) == [4, 2]


def test_heads_may_differ_where_predictions_alone_are_distilled(tmp_path):
    before, _, phase1 = with_heads("task_distill", 12, 6).partition("[phase1]")
    (tmp_path / "x.toml").write_text(f"{before}[phase2]{phase1.partition('[phase2]')[2]}")
    assert heads(load(tmp_path / "x.toml").recipe) == [12, 6]


def test_without_shared_keys_no_network_table_is_needed(tmp_path):
    head, shared, teacher, student, *rest = (
        (BASES / "general_distill.toml").read_text().split("\n\n")
    )
    keys = shared.removeprefix("[network]\n")
    text = "\n\n".join([head, f"{teacher}\n{keys}", f"{student}\n{keys}", *rest])
    (tmp_path / "x.toml").write_text(text)
    resolved = load(tmp_path / "x.toml")
    assert network(resolved.recipe, "student") == STUDENT
    assert "network" not in resolved.values


def test_an_evaluated_student_has_no_dropout():
    recipe = load(BASES / "evaluate.toml").recipe
    assert network(recipe, "student").hidden_dropout_prob == 0.0
    with pytest.raises(ValueError, match=r"a recipe without \[teacher\]"):
        network(recipe, "teacher")


def test_a_student_for_phase_2_alone_cannot_begin_as_layers_of_the_teacher(tmp_path):
    before, _, phase1 = (BASES / "task_distill.toml").read_text().partition("[phase1]")
    before = re.sub("load_student_ckpt_path = .*", 'init = "teacher"', before)
    (tmp_path / "x.toml").write_text(f"{before}[phase2]{phase1.partition('[phase2]')[2]}")
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "x.toml")
    assert "the layers to copy are those of `layer_map` in [phase1.distill]" in str(caught.value)
    assert "help: write `load_student_ckpt_path` instead, or add [phase1]" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_attention_heads", 2),
        ("hidden_act", '"relu"'),
        ("layer_norm_eps", 1e-12),
        ("max_position_embeddings", 64),
        ("type_vocab_size", 3),
        ("use_relative_positions", "true"),
    ],
)
def test_a_copy_of_the_teacher_has_the_teachers_description(tmp_path, key, value):
    text = (
        (BASES / "general_distill.toml").read_text().replace("attention = 1.0", "attention = 0.0")
    )
    (old,) = re.findall(f"{key} = (.*)\n", text)
    text = text.replace(f"{key} = {old}\n", "")
    text = text.replace("[teacher]", f"[teacher]\n{key} = {old}")
    same = "hidden_size = 48\nnum_hidden_layers = 2\nintermediate_size = 96"
    text = text.replace(same.replace("48", "24", 1).replace("96", "48"), same)
    for name, own in (("same", old), ("other", value)):
        copied = f'[student]\n{key} = {own}\ninit = "teacher"'
        (tmp_path / f"{name}.toml").write_text(text.replace('[student]\ninit = "seeded"', copied))
    assert load(tmp_path / "same.toml").recipe.student.init == "teacher"
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "other.toml")
    message, *_ = str(caught.value).splitlines()
    assert message.startswith(f"`{key}` is ")
    assert message.endswith(" in [student], which begins as a copy")
    assert "error: " not in str(caught.value)
