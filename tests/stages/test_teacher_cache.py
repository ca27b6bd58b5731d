"""Runs that read the teacher's outputs from the cache do what runs that compute them do."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from safetensors.numpy import save_file
from structlog.testing import capture_logs

from tests.conftest import NARROW, ROOT, SHIPPED, Runner, read_json
from tests.manifest.test_bit_relevance import PORTABLE
from tests.parity.ours import GATES
from tests.stages.contexts import context_of
from tinybert.files import digest_file
from tinybert.kernels import loops
from tinybert.manifest.built import Processor
from tinybert.model.layers import Cell
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load as load_recipe
from tinybert.recipe.network import ROLES, head
from tinybert.stages.build import first_weights
from tinybert.stages.layers import build_distiller
from tinybert.stages.teacher_cache import cache_key, cached_layers, cached_logits

ROWS = 350
CHANGES = {
    **NARROW,
    '{ recipe = "recipes/tiny/tiny_finetune.toml" }': '"teacher.safetensors"',
    '{ recipe = "recipes/tiny.toml" }': '"student.safetensors"',
}
CACHE = ("--set", "runtime.teacher_cache_gib=0.001")
PACKED = ("--set", 'data.packing="blocks"', "--set", "data.block_length=64")
SUNK = ("--set", "runtime.enable_data_sink=true", "--set", "runtime.data_sink_steps=11")
GRAPH = ("--set", 'runtime.dropout_masks="graph"')
TWO = ("--set", "topology.devices_per_host=2")
ROOM = ("--set", "runtime.teacher_cache_gib=0.1")
COMPUTING = "teacher cache: computing"


def losses(root, manifest):
    """Return the losses of a run's steps."""
    trace = root / manifest["volatile"]["directory"] / "trace.jsonl"
    records = map(json.loads, trace.read_text().splitlines())
    return [float.fromhex(record["loss"]) for record in records]


def caches(root):
    return [path for path in (root / "runs" / "teacher").glob("*") if path.is_dir()]


class Distillation(Runner):
    """Runs a phase of the tiny task distillation, of two epochs, from seeded networks.

    Phase 1 leaves padding out.
    """

    def __init__(self, root):
        super().__init__(root)
        text = SHIPPED["tiny_task_distill"].read_text().partition("\n[expect]")[0]
        for old, new in CHANGES.items():
            assert old in text, old
            text = text.replace(old, new)
        first, second = text.index("[phase1]"), text.index("[phase2]")
        self.recipe = root / "distil.toml"
        self.recipe.write_text(text[:first] + text[second:])
        self.layers = root / "layers.toml"
        tokens_only = text[:second].replace('padding = "include"', 'padding = "ignore"')
        self.layers.write_text(tokens_only + text[text.index("[topology]") :])
        plan, _ = make_plan(load_recipe(self.recipe), root)
        for role in ROLES:
            arrays = first_weights(plan, role, {}, head(plan.resolved.recipe, role))
            save_file(arrays, root / f"{role}.safetensors")

    def distil(self, *arguments, recipe=None):
        """Run a recipe, or that of phase 2, anew to its end; return its manifest and its log."""
        recipe = recipe or self.recipe
        code, out, err = self(recipe, "--root", self.root, "--fresh", *arguments)
        assert code == 0, err
        return read_json(self.root / out.splitlines()[-1]), err


@pytest.fixture(scope="module")
def distillation(tmp_path_factory):
    return Distillation(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def computed(distillation):
    """The run in which the graph has the teacher."""
    manifest, log = distillation.distil()
    assert "teacher cache" not in log
    return manifest


@pytest.fixture(scope="module")
def cached(distillation, computed):
    """The first run with a cache."""
    manifest, log = distillation.distil(*CACHE)
    assert log.count(COMPUTING) == 1
    return manifest


def test_a_run_that_read_the_outputs_is_as_its_recipe_says(distillation, cached):
    run = cached["volatile"]["directory"].removeprefix("runs/").replace("/", "-")
    code, out, err = distillation.ask("verify", distillation.root / "manifests" / f"{run}.json")
    assert code == 0, out + err


def test_a_cached_teacher_gives_the_losses_of_a_computed_one(distillation, computed, cached):
    """In networks as narrow as these even the bits are those of the teacher in the graph."""
    ours, theirs = losses(distillation.root, cached), losses(distillation.root, computed)
    assert len(ours) == 44
    assert ours == pytest.approx(theirs, rel=GATES["loss"])
    assert cached["outcome"] == computed["outcome"]


def test_the_manifest_says_where_the_teachers_outputs_come_from(distillation, computed, cached):
    before, after = (run["effective"]["phases"]["phase2"] for run in (computed, cached))
    (path,) = caches(distillation.root)
    assert before["teacher_cache"] == {}
    assert after["teacher_cache"] == {
        "digest": path.name.partition("-")[2],
        "unused": None,
        "bytes": ROWS * 2 * 4,
        "limit_bytes": 1073741,
        "matrix_products": {"Float32": 14},  # 6 a layer, pooler and head
    }
    assert set(before["matrix_products"]) == {"teacher", "student"}
    assert after["matrix_products"] == {"student": {"Float32": 24}}  # 8, and their gradients
    for fact in ("parameters", "initial_weights", "masks"):
        assert after[fact] == before[fact]


def test_a_second_run_computes_no_teacher_also_with_sunk_steps_and_masks_of_the_graph(
    distillation, cached
):
    again, log = distillation.distil(*CACHE, *SUNK, *GRAPH)
    assert COMPUTING not in log
    assert "teacher cache  " in log
    assert again["outcome"] == cached["outcome"]


TOO_LARGE = {
    "digest": None,
    "unused": "too large",
    "bytes": 2800,
    "limit_bytes": 1,
    "matrix_products": {},
}


def context_for(distillation, recipe, *changes):
    """Return the context of a run of a changed recipe."""
    plan, problems = make_plan(load_recipe(recipe, changes), distillation.root)
    assert problems == []
    return context_of(plan)


def test_outputs_above_the_limit_are_not_kept(distillation):
    context = context_for(distillation, distillation.recipe, "runtime.teacher_cache_gib=1e-9")
    with capture_logs() as events:
        outputs, facts = cached_logits(context.plan.resolved.recipe, context, Cell())
    assert (outputs, asdict(facts)) == (None, TOO_LARGE)
    (event,) = events
    assert event["event"] == "teacher cache: too large, not used"
    assert (event["bytes"], event["limit_bytes"]) == (2800, 1)


@pytest.mark.slow
def test_outputs_above_the_limit_are_computed_in_every_step(distillation, computed):
    before = caches(distillation.root)
    other, log = distillation.distil("--set", "runtime.teacher_cache_gib=1e-9")
    assert log.count("teacher cache") == 1
    assert other["effective"]["phases"]["phase2"]["teacher_cache"] == TOO_LARGE
    assert other["outcome"] == computed["outcome"]
    assert caches(distillation.root) == before


def test_packed_rows_have_a_cache_of_their_own(distillation, cached):
    packed, log = distillation.distil(*CACHE, *PACKED)
    assert COMPUTING in log
    assert len(caches(distillation.root)) == 2
    ours, theirs = losses(distillation.root, packed), losses(distillation.root, cached)
    assert ours == pytest.approx(theirs, rel=1e-5)  # as packed and padded rows differ


def test_the_key_has_what_has_an_effect_on_bits_and_no_number_of_processes(
    distillation, monkeypatch
):
    context, teacher = context_for(distillation, distillation.recipe), Cell()

    def key(**changes):
        environment = replace(PORTABLE, **changes)
        return cache_key(replace(context, environment=environment), teacher, {"logits": 2})

    topology = replace(PORTABLE.topology, hosts=2, processes=8)
    harmless = ({"topology": topology}, {"cpu": Processor(model="another", flags=[])})
    assert {key(**changes) for changes in harmless} == {key()}
    other = [
        {"arithmetic": replace(PORTABLE.arithmetic, instruction_set="AVX2_VNNI")},
        {"platform": "Linux x86_64 glibc 2.41"},
        {"distributions": {"numba": "0.1"}},
        {"topology": replace(PORTABLE.topology, device="Ascend")},
    ]
    keys = {key(), *(key(**changes) for changes in other)}
    monkeypatch.setattr(loops, "VERSION", "another")
    assert len(keys | {key()}) == len(other) + 2


def test_a_flipped_byte_is_refused(distillation, cached):
    digest = cached["effective"]["phases"]["phase2"]["teacher_cache"]["digest"]
    same = (path for path in caches(distillation.root) if path.name.endswith(digest))
    path = min(same, key=lambda path: path.stat().st_ctime)  # the packed rows' may be equal to it
    file = path / "logits.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, out, err = distillation(
        distillation.recipe, "--root", distillation.root, "--fresh", *CACHE
    )
    damaged = digest_file(file).sha256
    file.write_bytes(whole)
    assert (code, out) == (4, "")
    now_and_then = f"{damaged}, not {digest_file(file).sha256}"
    assert (
        f"error: the teacher cache is damaged: its SHA-256 is {now_and_then}\n  --> {file}\n"
        "help: delete this directory; the next run computes the teacher's outputs again"
    ) in err


@pytest.fixture(scope="module")
def layered(distillation):
    """Phase 1, in which the graph has the teacher."""
    manifest, log = distillation.distil(recipe=distillation.layers)
    assert "teacher cache" not in log
    return manifest


@pytest.fixture(scope="module")
def cached_layered(distillation, layered):
    """Phase 1, the first time with a cache."""
    manifest, log = distillation.distil(*ROOM, recipe=distillation.layers)
    assert log.count(COMPUTING) == 1
    return manifest


def test_cached_layers_give_the_losses_of_computed_ones(distillation, layered, cached_layered):
    ours, theirs = (losses(distillation.root, run) for run in (cached_layered, layered))
    assert len(ours) == 44
    assert ours == pytest.approx(theirs, rel=GATES["loss"])
    before, after = (run["effective"]["phases"]["phase1"] for run in (layered, cached_layered))
    assert after["teacher_cache"]["matrix_products"] == {"Float32": 12}  # 6 a layer
    assert set(after["matrix_products"]) == set(after["num_attention_heads"]) == {"student"}
    for fact in ("parameters", "initial_weights", "masks"):
        assert after[fact] == before[fact]


@pytest.mark.slow
def test_a_second_run_computes_no_layers_also_with_sunk_steps_and_masks_of_the_graph(
    distillation, cached_layered
):
    sunk = (*SUNK, *GRAPH, "--set", "phase1.checkpoints.save_ckpt_step=22")
    again, log = distillation.distil(*ROOM, *sunk, recipe=distillation.layers)
    assert COMPUTING not in log
    root = distillation.root
    assert losses(root, again) == losses(root, cached_layered)
    assert again["outcome"]["metrics"] == cached_layered["outcome"]["metrics"]


@pytest.mark.slow
def test_packed_layers_are_cached_too(distillation, cached_layered):
    packed, log = distillation.distil(*ROOM, *PACKED, recipe=distillation.layers)
    assert COMPUTING in log
    ours, theirs = (losses(distillation.root, run) for run in (packed, cached_layered))
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_layers_are_not_cached_where_padding_counts(distillation):
    changes = ('phase1.distill.padding="include"', "runtime.teacher_cache_gib=0.1")
    context = context_for(distillation, distillation.layers, *changes)
    recipe = context.plan.resolved.recipe
    distiller = build_distiller(context.plan, recipe.phase1.distill, context.loaded)
    with capture_logs() as events:
        outputs, facts = cached_layers(recipe, context, distiller)
    assert (outputs, facts.digest, facts.unused) == (None, None, "padding counts")
    assert [event["event"] for event in events] == ["teacher cache: padding counts, not used"]


def kill(recipe, moment, number):
    """Run a recipe until a moment of that kind comes for the last time."""
    arguments = (moment, number, 0, "--", recipe, "--root", recipe.parent, *ROOM)
    command = [sys.executable, ROOT / "tools" / "kill_run.py", *arguments]
    return subprocess.run(list(map(str, command)), cwd=recipe.parent, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_a_run_that_is_killed_while_it_writes_the_cache_goes_on(tmp_path, cached, number):
    distillation = Distillation(tmp_path)
    killed = kill(distillation.recipe, "teacher", number)
    assert killed.returncode == -9, killed.stderr
    path = distillation.run(distillation.recipe, *ROOM)
    assert read_json(path)["outcome"] == cached["outcome"]
    assert len(caches(tmp_path)) == 1
    assert not list((tmp_path / "runs" / "teacher").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "straight"), [("distil", "cached"), ("layers", "cached_layered")])
def test_a_run_that_is_killed_goes_on_with_the_cache_to_the_same_outcome(
    tmp_path, request, name, straight
):
    distillation, recipe = Distillation(tmp_path), tmp_path / f"{name}.toml"
    assert kill(recipe, "step", 30).returncode == -9
    code, out, err = distillation(recipe, "--root", tmp_path, *ROOM)
    assert code == 0, err
    assert COMPUTING not in err
    resumed = read_json(tmp_path / out.splitlines()[-1])
    assert len(resumed["volatile"]["segments"]) == 2
    expected = request.getfixturevalue(straight)["digests"]["outcome"]
    assert resumed["digests"]["outcome"] == expected


@pytest.mark.slow
@pytest.mark.parametrize("form", [(), PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize(("name", "phase"), [("distil", "phase2"), ("layers", "phase1")])
def test_two_processes_compute_one_cache_and_end_as_one_does(
    tmp_path, distillation, form, name, phase
):
    both = Distillation(tmp_path)
    two, _ = both.distil(*ROOM, *TWO, *form, recipe=tmp_path / f"{name}.toml")
    logs = tmp_path.glob(f"runs/{name}/*/ranks/worker_*.log")
    assert sorted(path.read_text().count(COMPUTING) for path in logs) == [0, 1]
    one, _ = distillation.distil(*ROOM, *form, recipe=distillation.root / f"{name}.toml")
    ours, theirs = (run["effective"]["phases"][phase] for run in (two, one))
    assert ours["teacher_cache"] == theirs["teacher_cache"]
    assert losses(tmp_path, two) == pytest.approx(losses(distillation.root, one), rel=1e-5)
