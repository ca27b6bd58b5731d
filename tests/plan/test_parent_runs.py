import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tinybert.errors import InputError
from tinybert.manifest.document import encode_manifest, read_manifest
from tinybert.manifest.model import replace_sections
from tinybert.plan.parent_runs import LinkedRun, find_parent_run
from tinybert.recipe.tables import ManifestLink


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
