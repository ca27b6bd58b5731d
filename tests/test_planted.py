"""`diff` names the cause of a planted difference in the first line of its answer."""

import shutil
from dataclasses import replace

import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import ROOT
from tinybert.data.example import Column, decode_examples, encode_examples
from tinybert.data.tfrecord import read_records, write_records
from tinybert.manifest.document import encode_manifest, read_manifest
from tinybert.manifest.model import replace_sections

NAMES = ("input_ids", "input_mask", "segment_ids")
CHANGES = {
    '[teacher]\ninit = "seeded"': '[teacher]\nload_teacher_ckpt_path = "teacher.safetensors"',
    "recipes/tiny/records": "rows",
    "train_steps = 200": "train_steps = 20",  # row 7 is in step 5
}


def write_rows(path, *, change):
    """Copy the tiny records, with another token in row 7 if asked."""
    (source,) = (ROOT / "recipes/tiny/records").glob("*.tfrecord")
    payloads = [payload for _, payload in read_records(source)]
    columns = decode_examples(payloads, [Column(name, "int", 32) for name in NAMES])
    if change:
        columns["input_ids"][7, 3] += 1
    with path.open("wb") as file:
        write_records(file, encode_examples(columns))


@pytest.fixture(scope="module")
def base(narrow):
    """A run whose records and teacher are files that can be changed."""
    root = narrow.root
    (root / "rows").mkdir()
    write_rows(root / "rows/rows.tfrecord", change=False)
    shutil.copy(ROOT / "recipes/tiny/records/schema.json", root / "rows/schema.json")
    text = narrow.free.read_text()
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    recipe = root / "planted.toml"
    recipe.write_text(text)
    save_file(seeded_teacher(narrow.free), root / "teacher.safetensors")
    return recipe, narrow.run(recipe, "--fresh")


def seeded_teacher(recipe):
    from tinybert.model.parameters import encoder_shapes, seeded
    from tinybert.recipe.load import load
    from tinybert.recipe.network import network

    config = network(load(recipe).recipe, "teacher")
    return seeded(encoder_shapes(config), seed=1, std=config.initializer_range, prefix="teacher.")


def first_line(narrow, base, *arguments):
    recipe, a = base
    b = narrow.run(recipe, "--fresh", *arguments)
    code, out, _ = narrow.ask("diff", a, b)
    assert code == 1
    return out.splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("seed=2", "different: seed: 1 in A, 2 in B"),
        (
            "optimizer.weight_decay=0.5",
            "different: option optimizer.weight_decay: 0.0001 in A, 0.5 in B",
        ),
        ("data.do_shuffle=false", "different: option data.do_shuffle: true in A, false in B"),
    ],
)
def test_an_option(narrow, base, change, cause):
    assert first_line(narrow, base, "--set", change).startswith(cause)


def test_one_token_of_one_record(narrow, base):
    write_rows(narrow.root / "rows/rows.tfrecord", change=True)
    line = first_line(narrow, base)
    write_rows(narrow.root / "rows/rows.tfrecord", change=False)
    assert line.startswith("different: data file: other bytes (rows/rows.tfrecord); other batches")


@pytest.mark.slow
def test_one_weight_of_the_teacher(narrow, base):
    path = narrow.root / "teacher.safetensors"
    arrays = load_file(path)
    name = "encoder.layer.1.output.dense.weight"
    arrays[name][0, 0] += 0.01
    save_file(arrays, path)
    line = first_line(narrow, base)
    save_file(seeded_teacher(narrow.free), path)
    assert line.startswith(f"different: teacher checkpoint: other weights in `teacher.{name}` (")
    assert "; other arithmetic on equal batches from step 1" in line


@pytest.mark.slow
def test_another_library_version(narrow, base):
    recipe, a = base
    b = narrow.run(recipe, "--fresh", "--set", "optimizer.weight_decay=0.5")
    first, second = read_manifest(a), read_manifest(b)
    libraries = {**second.environment.distributions, "numpy": "1.26.3"}
    manifest = replace_sections(
        second,
        inputs=first.inputs,
        effective=first.effective,
        environment=replace(second.environment, distributions=libraries),
    )
    b.write_bytes(encode_manifest(manifest))
    code, out, _ = narrow.ask("diff", a, b)
    assert code == 1
    assert out.startswith('different: library numpy: "1.26.4" in A, "1.26.3" in B')
