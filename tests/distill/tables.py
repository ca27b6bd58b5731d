"""A table of losses for the tests of this folder and others."""

from typing import Any

from tinybert.recipe.distill_tables import Distill, LossWeights, Relations, RelationWeights


def losses(layer_map: Any, **others: Any) -> Distill:
    """Return the published losses, with some keys changed: those of `weights` among the others."""
    weights = {"attention": 1.0, "hidden": 1.0}
    weights |= {key: others.pop(key) for key in LossWeights.model_fields if key in others}
    table = {"padding": "include", "fit_dense": "shared", **others}
    return Distill(layer_map=layer_map, weights=LossWeights(**weights), **table)


def relations(teacher_layer: int, heads: int | None, **weights: float) -> Relations:
    """Return the relations of a teacher layer."""
    return Relations(
        teacher_layer=teacher_layer, relation_heads=heads, weights=RelationWeights(**weights)
    )
