"""The committed manifests of real runs: sealed, of the recipes as they read now, and one chain."""

from pathlib import Path

import pytest

from tinybert.manifest.document import read_manifest
from tinybert.recipe.identity import identity
from tinybert.recipe.load import load

ROOT = Path(__file__).parent.parent.parent
REFERENCES = sorted((ROOT / "manifests").glob("*.reference.json"))


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.name.split(".")[0])
def test_a_reference_is_of_the_recipe_as_it_reads_now(path: Path) -> None:
    manifest = read_manifest(path)  # compares every section with its digest
    recipe = manifest.inputs.recipe
    assert manifest.outcome.status == "finished"
    assert recipe.overrides == []
    now = load(ROOT / recipe.path)
    assert identity(recipe.values) == identity(now.values)
    assert now.values["expect"]["reference"] == str(path.relative_to(ROOT))


def test_the_parents_in_references_are_the_references_of_their_recipes() -> None:
    references = {m.volatile.run_id: m for m in map(read_manifest, REFERENCES)}
    links = [parent for m in references.values() for parent in m.inputs.parents]
    assert len(links) == 6
    for parent in links:
        (reference,) = (m for run_id, m in references.items() if run_id in parent.manifest)
        assert parent.outcome_digest == reference.digests.outcome
