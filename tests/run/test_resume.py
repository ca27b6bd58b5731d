from typing import Any

from tinybert.run.resume import resumable


def test_only_the_newest_run_of_equal_recipe_and_code_is_resumed(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as abandoned:
        inputs = abandoned.manifest.inputs
    keys = (inputs.recipe.digest, inputs.code.digest)
    assert resumable(run.root, "tiny", "another recipe", keys[1]) is None
    assert resumable(run.root, "tiny", keys[0], "another code") is None
    assert resumable(run.root, "other", *keys) is None
    (run.root / "manifests" / "tiny-20270101T000000Z-00000a.json").write_text("{")
    found = resumable(run.root, "tiny", *keys)
    assert found is not None
    assert found.path == abandoned.path
    assert resumable(run.root, "tiny", *keys) is None, "it is under way"
    found.finish("interrupted")
    found = resumable(run.root, "tiny", *keys)
    assert found is not None
    found.finish()
    assert resumable(run.root, "tiny", *keys) is None, "it is finished"
