"""Names in a manifest never lead out of the folders of its run."""

from dataclasses import replace

import pytest

from tinybert.errors import ManifestError
from tinybert.manifest.document import encode_manifest, is_below, read_manifest
from tinybert.manifest.model import replace_sections
from tinybert.manifest.record import RunRecord

ESCAPES = ("../x", "a/../../x", "/etc/x", "..", "", "a\0b")


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_outside_of_its_folder_is_one(name):
    assert not is_below(name)


@pytest.mark.parametrize("name", ["x", "a/b.json", "a..b", "..."])
def test_a_name_in_its_folder_is_one(name):
    assert is_below(name)


@pytest.mark.parametrize("name", ["../x", "/etc/x"])
@pytest.mark.parametrize("place", ["directory", "run_id", "recipe", "file", "table"])
def test_a_resealed_manifest_that_leaves_its_folder_is_refused(pretend, place, name):
    path = pretend("a").run()
    manifest = read_manifest(path)
    outcome, inputs = manifest.outcome, manifest.inputs
    if place in ("directory", "run_id"):
        volatile = replace(manifest.volatile, **{place: name})
        changed = replace_sections(manifest, volatile=volatile)
    elif place == "recipe":
        recipe = replace(inputs.recipe, name=name)
        changed = replace_sections(manifest, inputs=replace(inputs, recipe=recipe))
    else:
        key = {"file": "file", "table": "tensor_table"}[place]
        (first, *rest) = outcome.checkpoints
        kept = [replace(first, **{key: name}), *rest]
        changed = replace_sections(manifest, outcome=replace(outcome, checkpoints=kept))
    path.write_bytes(encode_manifest(changed))
    with pytest.raises(ManifestError, match="leaves its folder"):
        read_manifest(path)


def test_a_manifest_elsewhere_is_not_resumed_and_nothing_is_removed(pretend, tmp_path):
    path = pretend("a").run()
    manifest = read_manifest(path)
    victim = tmp_path / "victim"
    (victim / "runs" / "x").mkdir(parents=True)
    leftover = victim / "runs" / "x" / ".a.tmp"
    leftover.write_text("keep")
    volatile = replace(manifest.volatile, root=str(victim), directory="runs/x")
    foreign = tmp_path / "foreign.json"
    foreign.write_bytes(encode_manifest(replace_sections(manifest, volatile=volatile)))
    with pytest.raises(ManifestError, match="not where its run put it"):
        RunRecord.reopen(foreign)
    assert leftover.read_text() == "keep"


def test_a_metric_that_is_no_number_is_refused(pretend):
    path = pretend("a").run()
    manifest = read_manifest(path)
    metrics = {
        name: replace(value, value="nan") for name, value in manifest.outcome.metrics.items()
    }
    changed = replace_sections(manifest, outcome=replace(manifest.outcome, metrics=metrics))
    path.write_bytes(encode_manifest(changed))
    with pytest.raises(ManifestError, match=r"^no manifest: `outcome\.metrics\."):
        read_manifest(path)
