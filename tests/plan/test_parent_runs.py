import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import ROOT, SHIPPED
from tests.stand_ins import stand_in_run
from tinybert.errors import InputError
from tinybert.manifest.document import encode_manifest, read_manifest
from tinybert.manifest.model import replace_sections
from tinybert.plan.parent_runs import LinkedRun, find_parent_run
from tinybert.recipe.tables import ManifestLink, RecipeLink


def linked(path: Path) -> LinkedRun:
    return find_parent_run(ManifestLink(manifest=str(path)), path.parents[1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_the_last_checkpoint_of_a_run_is_taken(pretend: Any) -> None:
    run = linked(pretend("a").run())
    assert run.checkpoint.name == "step-00000012.safetensors"
    assert run.recorded.step == 12
    run.check_tensors(load_file(run.checkpoint))


DAMAGES = {
    "one bit": (flip, "SHA-256 "),
    "an older step in its place": (
        lambda path: shutil.copy(path.with_name("step-00000006.safetensors"), path),
        "SHA-256 ",
    ),
    "one byte more": (lambda path: path.write_bytes(path.read_bytes() + b" "), ""),
}


@pytest.mark.parametrize(("damage", "change"), DAMAGES.values(), ids=DAMAGES)
def test_a_checkpoint_that_was_changed_is_refused(pretend: Any, damage: Any, change: str) -> None:
    path = pretend("a").run()
    file = linked(path).checkpoint
    size = file.stat().st_size
    damage(file)
    with pytest.raises(InputError) as caught:
        linked(path)
    expected = change or f"{size + 1} bytes, not {size}"
    prefix = "the checkpoint is not the one that the run recorded: "
    assert caught.value.message.startswith(prefix + expected)
    assert (caught.value.where, caught.value.exit_code) == (str(file), 4)
    assert caught.value.cure == f"restore it, or repeat the run: `rerun {path}`"


def test_other_tensors_are_refused_where_no_file_is_recorded(pretend: Any) -> None:
    path = pretend("a").run()
    manifest = read_manifest(path)
    volatile = replace(manifest.volatile, checkpoint_files={})
    path.write_bytes(encode_manifest(replace_sections(manifest, volatile=volatile)))
    run = linked(path)
    arrays = load_file(run.checkpoint)
    for changed in (
        {**arrays, "fit_dense.weight": arrays["fit_dense.weight"] + np.float32(1)},
        {**arrays, "fit_dense.weight": arrays["fit_dense.weight"].astype(np.float64)},
        {**arrays, "fit_dense.weight": arrays["fit_dense.weight"].reshape(1, 2)},
        {name: array for name, array in arrays.items() if name != "fit_dense.weight"},
    ):
        save_file(changed, run.checkpoint)
        with pytest.raises(InputError, match=r"recorded: tensor digest .*, not ") as caught:
            linked(path).check_tensors(load_file(run.checkpoint))
        assert caught.value.where == str(run.checkpoint)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A root with the tiny recipes, and finished runs of the first two of them."""
    for name in ("tiny", "tiny_finetune", "tiny_task_distill", "tiny_evaluate"):
        path = tmp_path / SHIPPED[name].relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHIPPED[name], path)
    parents = {
        role: stand_in_run(tmp_path, tmp_path / "recipes" / name)
        for role, name in (("teacher", "tiny/tiny_finetune.toml"), ("student", "tiny.toml"))
    }
    stand_in_run(tmp_path, tmp_path / DISTILL, parents=parents)
    return tmp_path


DISTILL = "recipes/tiny/tiny_task_distill.toml"
FINETUNE = "recipes/tiny/tiny_finetune.toml"


def by_recipe(root: Path, recipe: str = DISTILL, device: str | None = None) -> LinkedRun:
    return find_parent_run(RecipeLink(recipe=recipe), root, device)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min = 0.55", "min = 0.99"),
        ("[expect]\nfinite_loss = true\n", "[expect]\n"),
        ("threads = 1\n", 'threads = 1\ndropout_masks = "host"\n'),
        ("devices_per_host = 1\n", "devices_per_host = 1\ntimeout_seconds = 60\n"),
    ],
)
def test_a_link_holds_while_nothing_is_edited_that_changes_the_outcome(
    chain: Path, old: str, new: str
) -> None:
    before = by_recipe(chain).path
    edit(chain / FINETUNE, old, new)
    assert by_recipe(chain).path == before


def unlinked(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.message


def test_the_nearest_run_is_named_with_the_keys_that_differ(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(chain)
    stand_in_run(chain, chain / FINETUNE, overrides=["seed=2", "training.epoch_size=9"])
    edit(chain / FINETUNE, "seed = 1", "seed = 3")
    (first,) = sorted(chain.glob("manifests/tiny_finetune-*.json"))[:1]
    assert unlinked(lambda: by_recipe(chain, FINETUNE)) == (
        "the linked recipe has no finished run; the nearest is "
        f"manifests/{first.name}:\n  - seed: 1 there, 3 in tiny_finetune.toml"
    )


def test_a_run_on_other_parents_than_the_linked_recipes_mean_is_none_of_its_recipe(
    chain: Path,
) -> None:
    edit(chain / FINETUNE, "learning_rate = 1e-3", "learning_rate = 2e-3")
    (teacher,) = chain.glob("manifests/tiny_finetune-*.json")
    assert (
        f"\n  - the teacher it read, {teacher.name}: optimizer.schedule.learning_rate: "
        "0.001 there, 0.002 in tiny_finetune.toml"
    ) in unlinked(lambda: by_recipe(chain))
    teacher.unlink()
    assert by_recipe(chain), "what is not here is not compared"


def test_a_linked_recipe_may_have_been_run_on_the_device_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    shutil.copy(SHIPPED["finetune_sst2"], path)
    stand_in_run(tmp_path, path, device="CPU")
    assert "topology.device: " in unlinked(lambda: by_recipe(tmp_path, "a.toml"))
    assert by_recipe(tmp_path, "a.toml", "CPU")


def test_an_unfinished_run_is_said_to_be_one(pretend: Any) -> None:
    run = pretend("a")
    with run.planned():
        pass
    (run.root / "tiny.toml").write_text(run.text())
    message = unlinked(lambda: by_recipe(run.root, "tiny.toml"))
    assert message.endswith(".json:\n  - it is abandoned")
