"""Resolved values, their origins, overrides, and the digest."""

import hashlib
import re
from pathlib import Path

import pytest
import rfc8785

from tests.conftest import ROOT, SHIPPED
from tinybert.errors import RecipeError
from tinybert.recipe.keys import as_toml
from tinybert.recipe.load import Origin, load
from tinybert.recipe.tables import Batches, Topology, batch_size, device_count, global_batch_size

BASES = Path(__file__).parent / "bases"
GENERAL = BASES / "general_distill.toml"
TASK = BASES / "task_distill.toml"
SCHEMA = ROOT / "recipes" / "recipe.schema.json"


def error_of(*args):
    with pytest.raises(RecipeError) as caught:
        load(*args)
    return f"error: {caught.value}"


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED)
def test_every_shipped_recipe_is_valid_and_says_what_it_needs(path):
    recipe = load(path)
    assert recipe.name == path.stem
    head = recipe.text.split("\n\n")[0]
    schema, launch, *_ = head.splitlines()
    assert (path.parent / schema.removeprefix("#:schema ")).resolve() == SCHEMA
    assert launch == f"# python runner.py {path.relative_to(ROOT)}"
    for word in ("# Reproduces ", "# Expected ", "# Needs ", "# Takes "):
        assert word in head
    if recipe.recipe.topology.device == "Ascend":
        assert "not yet run on Ascend hardware" in head


def test_names_of_shipped_recipes_are_unique():
    assert len(SHIPPED) == len(list((ROOT / "recipes").rglob("*.toml")))


def test_the_tiny_recipe_drops_out_and_divides_by_8_over_at_least_40_steps():
    recipe = load(ROOT / "recipes" / "tiny.toml").recipe
    assert recipe.student.hidden_dropout_prob > 0
    assert recipe.training.train_steps >= 40
    assert recipe.data.global_batch_size % 8 == 0


def test_resolved_values_are_plain_and_their_origins_complete():
    resolved = load(GENERAL)
    assert resolved.values["optimizer"]["betas"] == [0.9, 0.999]
    assert resolved.values["data"]["batch_size"] == 16
    assert resolved.values["topology"]["device_count"] == 1
    assert "eval_data_dir" not in resolved.values["data"]
    origins = resolved.origins
    assert origins["stage"] == Origin("file", f"{GENERAL}:1:9")
    assert origins["teacher.hidden_dropout_prob"] == Origin("default", "")
    assert origins["data.batch_size"] == Origin("derived", "global_batch_size / device_count")
    assert origins["topology.device_count"] == Origin("derived", "hosts * devices_per_host")
    leaves = set()

    def visit(value, path):
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(inner, [*path, key])
        else:
            leaves.add(".".join(path))

    visit(resolved.values, [])
    assert leaves == set(origins)


def test_text_and_digests_are_of_the_bytes_and_of_the_values():
    resolved = load(GENERAL)
    assert resolved.text == GENERAL.read_text()
    assert resolved.text_sha256 == hashlib.sha256(GENERAL.read_bytes()).hexdigest()
    assert resolved.digest == hashlib.sha256(rfc8785.dumps(resolved.values)).hexdigest()


def test_the_digest_ignores_comments_order_and_spelling(tmp_path):
    text = GENERAL.read_text()
    blocks = re.split(r"\n(?=\[)", text)
    other = tmp_path / "other.toml"
    other.write_text(
        "# another comment\n"
        + "\n".join([blocks[0], *reversed(blocks[1:])])
        .replace(
            "weights = { attention = 1.0, hidden = 1.0 }",
            "weights.hidden = 1\nweights.attention = 1",
        )
        .replace("global_batch_size = 16", "'batch_size' = 1_6")
    )
    assert load(other).digest == load(GENERAL).digest


def test_the_digest_depends_on_the_values():
    digest = load(GENERAL).digest
    assert load(GENERAL, ["seed=1"]).digest == digest
    for override in ("seed=2", "student.hidden_dropout_prob=0.2", "runtime.threads=2"):
        assert load(GENERAL, [override]).digest != digest


@pytest.mark.parametrize(
    ("override", "table", "key", "value"),
    [
        ("seed=7", None, "seed", 7),
        ("training.train_steps = 48", "training", "train_steps", 48),
        ("optimizer.betas=[0.8, 0.9]", "optimizer", "betas", (0.8, 0.9)),
        ("data.data_dir=corpus/*.tfrecord", "data", "data_dir", "corpus/*.tfrecord"),
        ("data.data_dir='a = b'", "data", "data_dir", "a = b"),
        ("data.do_shuffle=false", "data", "do_shuffle", False),
        ("distill.layer_map=top", "distill", "layer_map", "top"),
        ("data.eval_data_dir=heldout.tfrecord", "data", "eval_data_dir", "heldout.tfrecord"),
    ],
)
def test_set_takes_a_toml_value_or_a_bare_word(override, table, key, value):
    resolved = load(GENERAL, [override])
    assert getattr(getattr(resolved.recipe, table) if table else resolved.recipe, key) == value
    name = f"{table}.{key}" if table else key
    assert resolved.origins[name] == Origin("set", f"--set {override}")
    assert resolved.overrides == (override,)


def test_the_last_of_two_overrides_counts():
    assert load(GENERAL, ["seed=2", "seed=3"]).recipe.seed == 3


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        (
            "optimizer.schedule.learning_rte=1",
            """\
error: unknown key `learning_rte` in [optimizer.schedule]
  --> --set optimizer.schedule.learning_rte=1
help: use `learning_rate`""",
        ),
        (
            "training.train_steps=many",
            """\
error: expected integer for `train_steps`, got string
  --> --set training.train_steps=many""",
        ),
        (
            "student.hidden_size=23",
            """\
error: `hidden_size` of [student], 23, does not divide into 4 heads
  --> --set student.hidden_size=23
help: write a multiple of `num_attention_heads`, such as 24""",
        ),
        (
            "optimizer.betas=0.9,0.99",
            """\
error: expected array for `betas`, got string
  --> --set optimizer.betas=0.9,0.99
help: write [0.9, 0.99]""",
        ),
        (
            "expect.tolerance.relative=1",
            """\
error: missing key `absolute` in [expect.tolerance]
  --> --set expect.tolerance.relative=1

error: `tolerance` says how far from a `reference`, and there is none
  --> --set expect.tolerance.relative=1
help: write `reference` in [expect], or remove `tolerance`""",
        ),
        (
            "seed",
            """\
error: expected KEY=VALUE
  --> --set seed
help: for example --set training.train_steps=8""",
        ),
        (
            "=3",
            """\
error: expected KEY=VALUE
  --> --set =3
help: for example --set training.train_steps=8""",
        ),
        (
            "seed=[1",
            """\
error: the value is not TOML
  --> --set seed=[1
help: for example --set training.train_steps=8""",
        ),
        (
            "seed=1\nstage = 2",
            """\
error: the value is not TOML
  --> --set seed=1\nstage = 2
help: for example --set training.train_steps=8""",
        ),
        (
            "seed.x=1",
            """\
error: `seed` is not a table
  --> --set seed.x=1
help: for example --set training.train_steps=8""",
        ),
    ],
)
def test_a_bad_override_is_answered_like_a_bad_line(override, answer):
    assert error_of(GENERAL, [override]) == answer


def test_problems_of_file_and_overrides_come_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text(GENERAL.read_text().replace("power = 1.0", "power = 0"))
    assert (
        error_of("x.toml", ["seed=-1"])
        == """\
error: expected at least 1.2e-38 for `power`, got 0
  --> x.toml:59:9
   |
59 | power = 0
   |         ^

error: expected at least 0 for `seed`, got -1
  --> --set seed=-1"""
    )


def test_device_cpu_changes_the_device_and_the_data_sink_alone():
    before, after = load(TASK), load(TASK, device="CPU")
    changed = {key for key in before.origins if before.origins[key] != after.origins[key]}
    assert changed == {"topology.device", "runtime.enable_data_sink"}
    assert after.recipe.topology.device == "CPU"
    assert after.recipe.runtime.enable_data_sink is False
    assert after.origins["topology.device"] == Origin("device", "--device CPU")
    assert after.origins["runtime.enable_data_sink"] == Origin("device", "--device CPU")
    assert after.device == "CPU"


def test_the_recipes_own_device_changes_nothing():
    assert load(GENERAL, device="CPU").digest == load(GENERAL).digest
    assert load(GENERAL, device="CPU").origins == load(GENERAL).origins


def test_device_ascend_leaves_the_data_sink_as_written():
    resolved = load(GENERAL, device="Ascend")
    assert resolved.recipe.topology.device == "Ascend"
    assert resolved.recipe.runtime.enable_data_sink is False


def test_an_unknown_device_is_named():
    assert (
        error_of(GENERAL, (), "GPU")
        == """\
error: unknown value "GPU" for `device`
  --> --device GPU
help: use "Ascend" or "CPU\""""
    )


@pytest.mark.parametrize(
    ("override", "table", "gone"),
    [
        ("training.epoch_size=2", "training", "train_steps"),
        ("data.batch_size=2", "data", "global_batch_size"),
        ("optimizer.schedule.warmup_steps=0", "optimizer.schedule", "warmup_ratio"),
        ("student.load_student_ckpt_path=a", "student", "init"),
    ],
)
def test_a_key_that_is_set_takes_the_place_of_those_that_it_excludes(override, table, gone):
    path = ROOT / "recipes" / "tiny.toml"
    key, _, _ = override.partition("=")
    before, after = load(path), load(path, [override])
    assert f"{table}.{gone}" in before.origins
    assert f"{table}.{gone}" not in {k for k, o in after.origins.items() if o.kind != "derived"}
    assert after.origins[key].kind == "set"
    value = before.values
    for part in (*table.split("."), gone):
        value = value[part]
    assert load(path, [override, f"{table}.{gone}={as_toml(value)}"]).digest == before.digest


def test_a_key_without_a_value_is_removed():
    path = ROOT / "recipes" / "tiny.toml"
    assert "expect" not in load(path, ["expect="]).values
    assert "steps" not in load(path, ["expect.steps="]).values["expect"]
    for key, cure in (
        ("training.epoch_size", "leave it out: the recipe does not write it"),
        ("training.train_step", "use `training.train_steps`"),
    ):
        assert error_of(path, [f"{key}="]) == (
            f"error: `{key}` is not there to be removed\n  --> --set {key}=\nhelp: {cure}"
        )
    assert "missing key `seed`" in error_of(path, ["seed="])


def test_a_data_sink_set_by_name_holds_on_the_cpu():
    resolved = load(TASK, ["runtime.enable_data_sink=true"], "CPU")
    assert resolved.recipe.runtime.enable_data_sink is True
    assert resolved.origins["runtime.enable_data_sink"].kind == "set"


def test_recipes_are_immutable():
    recipe = load(GENERAL).recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


def test_batch_sizes_follow_from_each_other():
    topology = Topology(device="CPU", hosts=2, devices_per_host=4)
    assert device_count(topology) == 8
    assert global_batch_size(Batches(batch_size=4), topology) == 32
    assert batch_size(Batches(batch_size=4), topology) == 4
    assert global_batch_size(Batches(global_batch_size=16), topology) == 16
    assert batch_size(Batches(global_batch_size=16), topology) == 2


def test_both_phases_get_their_batch_sizes():
    resolved = load(TASK, ["topology.devices_per_host=8"])
    assert resolved.values["phase1"]["global_batch_size"] == 256
    assert resolved.origins["phase2.global_batch_size"] == Origin(
        "derived", "batch_size * device_count"
    )
