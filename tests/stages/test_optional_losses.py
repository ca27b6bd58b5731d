"""The losses between layers that are not in TinyBERT, from recipe to trace and teacher cache."""

import json

import pytest

from tests.parity.ours import GATES
from tests.stages.test_teacher_cache import COMPUTING, PACKED, ROOM, Distillation, losses
from tinybert.manifest.trace import read_trace

RELATIONS = (
    "relations = { teacher_layer = 2, relation_heads = 8, weights = "
    "{ attention_distribution = 1.0, query_query = 0.5, key_key = 0.5, value_value = 1.0 } }"
)
LOSSES = {
    "weights = { attention = 1.0, hidden = 1.0 }": (
        "weights = { attention = 1.0, hidden = 1.0, embedding = 0.5, cosine = 2.0 }\n"
        f'attention_target = "probs"\n{RELATIONS}'
    ),
}
"""Changes of a recipe of narrow networks: every loss between layers."""
PARTS = [
    *("attention_loss", "hidden_loss", "embedding_loss", "cosine_loss"),
    *("attention_distribution_loss", "query_query_loss", "key_key_loss", "value_value_loss"),
]
FACTORS = dict(zip(PARTS, (1.0, 1.0, 0.5, 2.0, 1.0, 0.5, 0.5, 1.0), strict=True))
GENERAL = {
    **LOSSES,
    'padding = "include"': 'padding = "ignore"',
    "train_steps = 48": "train_steps = 12",
    "schema_dir =": 'eval_data_dir = "recipes/tiny/records/*.tfrecord"\nschema_dir =',
}
EXPECT = (
    "\n[expect]\nmetrics = { eval_key_key_loss = { max = 10.0 }, cosine_loss = { max = 5.0 } }\n"
)


@pytest.fixture(scope="module")
def general(runner, write_recipe):
    """Return the records of the trace of a general distillation, and its manifest."""
    recipe = write_recipe("all_losses", "tiny", GENERAL, EXPECT)

    def run(*options):
        path = runner.run(recipe, "--fresh", *options)
        manifest = json.loads(path.read_text())
        trace = runner.root / manifest["volatile"]["directory"] / "trace.jsonl"
        return list(read_trace(trace)), manifest

    return run


@pytest.fixture(scope="module")
def plain(general):
    return general()


def test_the_trace_has_every_part_by_name(plain):
    records, manifest = plain
    for record in records:
        assert list(record.parts) == PARTS
        total = sum(FACTORS[name] * value for name, value in record.parts.items())
        assert record.loss == pytest.approx(total, rel=1e-6)
    assert records[-1].loss < records[0].loss
    names = {f"{kind}{name}" for kind in ("", "mean_", "eval_") for name in ("loss", *PARTS)}
    assert manifest["outcome"]["metrics"].keys() == names


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [PACKED, ("--set", "data.micro_batches=4")], ids=["packed", "micro-batches"]
)
def test_every_part_is_the_same_in_packed_rows_and_in_micro_batches(general, plain, options):
    (records, manifest), (expected, padded) = general(*options), plain
    for ours, theirs in zip(records, expected, strict=True):
        assert ours.parts == pytest.approx(theirs.parts, rel=1e-4, abs=1e-7)
    metrics, others = (run["outcome"]["metrics"] for run in (manifest, padded))
    for name, metric in metrics.items():
        assert metric["value"] == pytest.approx(others[name]["value"], rel=1e-4, abs=1e-7)


@pytest.fixture(scope="module")
def distillation(tmp_path_factory):
    made = Distillation(tmp_path_factory.mktemp("losses"))
    text = made.layers.read_text()
    for old, new in LOSSES.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    made.layers.write_text(text)
    return made


@pytest.mark.slow
def test_a_cached_teacher_gives_the_losses_of_a_computed_one(distillation):
    def run(*options):
        manifest, log = distillation.distil(*options, recipe=distillation.layers)
        return losses(distillation.root, manifest), manifest["effective"]["phases"]["phase1"], log

    computed, before, _ = run()
    cached, after, log = run(*ROOM)
    assert log.count(COMPUTING) == 1
    assert cached == pytest.approx(computed, rel=GATES["loss"])
    assert after["teacher_cache"]["matrix_products"] == {"Float32": 12}  # 6 a layer
    assert after["initial_weights"] == before["initial_weights"]
    packed, _, log = run(*ROOM, *PACKED)
    assert COMPUTING in log
    assert packed == pytest.approx(cached, rel=1e-5)


@pytest.mark.slow
def test_outputs_for_other_relations_are_other_outputs(distillation):
    another = ("--set", "phase1.distill.relations.teacher_layer=1")
    short = ("--set", "phase1.training.epoch_size=1")
    _, first = distillation.distil(*ROOM, *short, recipe=distillation.layers)
    _, log = distillation.distil(*ROOM, *short, *another, recipe=distillation.layers)
    assert COMPUTING not in first
    assert COMPUTING in log
