"""Rules about the losses between the layers of two networks."""

from collections.abc import Iterator
from itertools import chain

from tinybert.recipe.diagnose import ValidValues
from tinybert.recipe.distill_tables import LOSS_PARTS, VECTOR_RELATIONS, RelationWeights
from tinybert.recipe.keys import TablePath, dotted, listed
from tinybert.recipe.network_rules import one_number
from tinybert.recipe.problems import Problem


def layer_losses(written: ValidValues, table: TablePath) -> tuple[str, ...]:
    """Return the loss of a distillation of layers and its parts, as runs name them."""
    named = {"attention", "hidden"}
    for path in (("distill", "weights"), ("distill", "relations", "weights")):
        weights = written.get(*table, *path)
        named.update(weights if isinstance(weights, dict) else ())
    return ("loss", *(f"{name}_loss" for name in LOSS_PARTS if name in named))


def distill_problems(written: ValidValues, table: TablePath) -> Iterator[Problem]:
    """Yield every contradiction in `[distill]` of a training, and with the networks."""
    if written.has(*table, "distill"):
        yield from chain(_same_heads(written, table), _layer_map(written, table))
        yield from chain(_something_learned(written, table), _padding(written, table))
        yield from _projection(written, table)
    if written.table(*table, "distill", "relations"):
        yield from chain(_relation_heads(written, table), _relations(written, table))


def _same_heads(written: ValidValues, table: tuple[str, ...]) -> Iterator[Problem]:
    """Check that an attention loss, if it counts, has the same heads on either side."""
    weights = (*table, "distill", "weights")
    if written.get(*weights, "attention"):
        other = f"`attention = 0.0` in [{dotted(weights)}]"
        cure = f"write one number, or {other}: attention is compared head by head"
        yield from one_number(written, "num_attention_heads", cure)


def _layer_map(written: ValidValues, table: tuple[str, ...]) -> Iterator[Problem]:
    path = (*table, "distill", "layer_map")
    layer_map = written.get(*path)
    teacher = written.get("teacher", "num_hidden_layers")
    student = written.get("student", "num_hidden_layers")
    if not (layer_map and teacher and student) or student > teacher:
        return
    if layer_map == "uniform" and teacher % student:
        message = f'"uniform" needs {student} student layers to divide {teacher} teacher layers'
        example = [round(layer * teacher / student) for layer in range(1, student + 1)]
        cure = f"list the teacher's layers, such as {example}" if student <= 24 else ""
        yield written.at_value(path, message, cure)
    if isinstance(layer_map, list):
        if len(layer_map) != student:
            message = f"`layer_map` has {len(layer_map)} items for {student} student layers"
            yield written.at_value(path, message)
        for index, layer in enumerate(layer_map):
            if layer > teacher:
                message = f"`layer_map` names layer {layer} of a teacher with {teacher} layers"
                yield written.at_value((*path, index), message)


def _something_learned(written: ValidValues, table: TablePath) -> Iterator[Problem]:
    path = (*table, "distill", "weights")
    weights = written.get(*path)
    relations = written.get(*table, "distill", "relations", "weights")
    if not isinstance(weights, dict) or not {"attention", "hidden"} <= weights.keys():
        return
    named = weights | (relations if isinstance(relations, dict) else {})
    if not any(named.values()):
        names = listed([f"`{name}`" for name in named], "and")
        both = "both" if len(named) == 2 else "all"
        yield written.at_value(path, f"{names} are {both} 0: nothing would be learned")


def _projection(written: ValidValues, table: TablePath) -> Iterator[Problem]:
    if written.get(*table, "distill", "fit_dense") == "none":
        cure = f'write one number, or `fit_dense = "shared"` in [{dotted((*table, "distill"))}]'
        yield from one_number(written, "hidden_size", cure)


def _padding(written: ValidValues, table: TablePath) -> Iterator[Problem]:
    masked = written.get("data", "input_mask_from_dataset")
    if written.get(*table, "distill", "padding") == "ignore" and masked is False:
        message = '`padding = "ignore"` needs `input_mask_from_dataset = true`'
        cure = "without the mask every position counts as a token"
        yield written.at_value((*table, "distill", "padding"), message, cure)


def _relations(written: ValidValues, table: TablePath) -> Iterator[Problem]:
    path = (*table, "distill", "relations")
    layer, depth = written.get(*path, "teacher_layer"), written.get("teacher", "num_hidden_layers")
    if layer and depth and layer > depth:
        message = f"`teacher_layer` {layer} of a teacher with {depth} layers"
        yield written.at_value((*path, "teacher_layer"), message, f"write {depth} or less")
    weights = written.get(*path, "weights")
    if isinstance(weights, dict) and not weights:
        message = f"no relation is named in [{dotted(path)}.weights]"
        names = listed([f"`{name}`" for name in RelationWeights.model_fields])
        cure = f"write {names}, or leave [{dotted(path)}] out"
        yield written.at_key((*path, "weights"), message, cure)
    distributions = (*path, "weights", "attention_distribution")
    if written.has(*distributions):
        cure = "write one number, or leave `attention_distribution` out: its heads are compared"
        yield from one_number(written, "num_attention_heads", cure)


def _relation_heads(written: ValidValues, table: TablePath) -> Iterator[Problem]:
    path = (*table, "distill", "relations")
    weights, heads = written.get(*path, "weights"), written.get(*path, "relation_heads")
    if not isinstance(weights, dict):
        return
    named = [name for name in VECTOR_RELATIONS if name in weights]
    if named and not written.has(*path, "relation_heads"):
        message = f"missing key `relation_heads` in [{dotted(path)}], which `{named[0]}` needs"
        yield written.at_key(path, message, "write the attention heads, or a multiple of them")
    if weights and not named and written.has(*path, "relation_heads"):
        message = "`attention_distribution` has the heads of the attention, not `relation_heads`"
        yield written.at_key((*path, "relation_heads"), message, "leave it out")
    for name in ("teacher", "student") if named and heads else ():
        width = written.get(name, "hidden_size")
        if width and width % heads:
            message = f"`hidden_size` of [{name}], {width}, does not divide into {heads} relations"
            cure = "write a divisor of both hidden sizes"
            yield written.at_value((*path, "relation_heads"), message, cure)
