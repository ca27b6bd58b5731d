from dataclasses import replace
from typing import Any

from tinybert.recipe.load import resolve
from tinybert.run.resume import resumable


def test_only_the_newest_run_of_equal_recipe_and_code_is_resumed(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as abandoned:
        inputs = abandoned.manifest.inputs
    recipe = resolve("tiny.toml", run.text().encode())
    seeded = resolve("tiny.toml", run.text().encode(), ["seed=7"])
    assert resumable(run.root, seeded, inputs) is None
    code = replace(inputs.code, digest="another code")
    for other in ({"code": code}, {"trial": True}, {"study": "a" * 64}):
        assert resumable(run.root, recipe, replace(inputs, **other)) is None
    assert resumable(run.root, resolve("other.toml", run.text().encode()), inputs) is None
    (run.root / "manifests" / "tiny-20270101T000000Z-00000a.json").write_text("{")
    found = resumable(run.root, recipe, inputs)
    assert found is not None
    assert found.path == abandoned.path
    assert resumable(run.root, recipe, inputs) is None, "it is under way"
    found.finish("interrupted")
    found = resumable(run.root, recipe, inputs)
    assert found is not None
    found.finish()
    assert resumable(run.root, recipe, inputs) is None, "it is finished"


def test_a_run_goes_on_with_the_expectations_of_now(pretend: Any) -> None:
    run = pretend("a", expect={"steps": 99})
    with run.planned() as abandoned:
        inputs = abandoned.manifest.inputs
    run.expect = {"steps": 12}
    found = resumable(run.root, resolve("tiny.toml", run.text().encode()), inputs)
    assert found is not None
    assert found.manifest.inputs.recipe.values["expect"] == {"steps": 12}
    assert found.manifest.inputs.recipe.text == run.text()
    found.close()
