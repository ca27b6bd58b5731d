"""The JSON Schema of recipes, by which editors complete and check them: the command `schema`.

It is of draft 7, whose keywords Taplo and its kin know. A table of one stage is reached by
`if` and `then`, so that a mistake has one message, at its own place; what editors complete is in
`properties` of the whole, which refuses nothing. A key that may not be there is refused by a rule
about its value: Taplo marks a rule about a table at every key of the table.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from pydantic.json_schema import models_json_schema

from tinybert.recipe.distill_tables import LossWeights
from tinybert.recipe.explain import drop_null, field_texts
from tinybert.recipe.keys import EXCLUSIVE, all_tables
from tinybert.recipe.model import STAGES
from tinybert.recipe.run_rules import PATHS
from tinybert.recipe.tables import Bounds, ManifestLink, RecipeLink, Table
from tinybert.recipe.task_types import TASK_KINDS

DRAFT = "http://json-schema.org/draft-07/schema#"
SHOWN = ("description", "enum", "examples")
"""What editors show of a key before its table is checked."""
WRITTEN_PATH = r"^[^~$\x00-\x1f\x7f][^$\x00-\x1f\x7f]*$"
"""A path, in which nothing is expanded."""
STAGE_NAMES = {stage.__name__ for stage in STAGES.values()}
Schema = dict[str, Any]


def schema() -> str:
    """Return a JSON Schema that accepts a recipe of any stage.

    Of the rules between keys it has those that draft 7 can express; `validate` has all.
    """
    _, generated = models_json_schema([(stage, "validation") for stage in STAGES.values()])
    definitions: Schema = generated["$defs"]
    tables: dict[str, type[Table]] = {
        table.__name__: table for stage in STAGES.values() for table in all_tables(stage).values()
    }
    tables |= {table.__name__: table for table in (Bounds, ManifestLink, RecipeLink)}
    for name, definition in definitions.items():
        texts = field_texts(tables[name])
        for key, field in definition["properties"].items():
            field.pop("title", None)
            if field.get("default", 0) is None:
                del field["default"]
            drop_null(field)
            field["description"] = texts[key]
            if any(path[-1] == key for path in PATHS) and field.get("type") == "string":
                field["pattern"] = WRITTEN_PATH
        if rules := [*_exclusive(definition), *_rules(name, definition)]:
            definition["allOf"] = rules
    checked: Schema = {}
    for name, stage in reversed(STAGES.items()):
        branch = {"$ref": f"#/definitions/{stage.__name__}"}
        checked = {"if": _is("stage", name), "then": branch, "else": checked or True}
    stages = {"description": "The kind of run.", "enum": list(STAGES)}
    result = {
        "$schema": DRAFT,
        "title": "Recipe of a TinyBERT run",
        "type": "object",
        "required": ["stage"],
        "properties": _completed(definitions) | {"stage": stages},
        **checked,
        "definitions": definitions,
    }
    return json.dumps(_draft_7(result), indent=2, ensure_ascii=False)


def _is(key: str, value: object) -> Schema:
    return {"required": [key], "properties": {key: {"const": value}}}


def _refused(why: str) -> Schema:
    """Return a schema that accepts nothing; Taplo prints it, and so the reason."""
    return {"not": {"title": why}}


def _without(why: str, *keys: str) -> Schema:
    return {"properties": {key: _refused(why) for key in keys}}


def _any_of(first: str, *others: str) -> Schema:
    """Return that a table has some of these keys; where it has none, the first is asked for."""
    there = {"anyOf": [{"required": [key]} for key in others]}
    return {"if": there, "else": {"required": [first]}}


def _exclusive(definition: Schema) -> Iterator[Schema]:
    """Yield that a table has one, and no more, of keys that exclude each other."""
    for group in EXCLUSIVE:
        keys = [key for key in group if key in definition["properties"]]
        if len(keys) > 1:
            yield _any_of(*keys)
            for first, second in combinations(keys, 2):
                beside = _without(f"a second key beside `{first}`", second)
                yield {"if": {"required": [first]}, "then": beside}


def _rules(name: str, definition: Schema) -> Iterator[Schema]:
    """Yield the rules between the keys of one table."""
    keys = definition["properties"]
    if "micro_batches" in keys:
        yield {"if": {"required": ["micro_batches"]}, "then": {"required": ["global_batch_size"]}}
    if "dataset_type" in keys:
        yield {"if": _is("dataset_type", "tfrecord"), "then": {"required": ["schema_dir"]}}
        never = _without("a schema of MindRecord files", "schema_dir", "eval_schema_dir")
        yield {"if": _is("dataset_type", "mindrecord"), "then": never}
        yield {
            "if": _is("packing", "blocks"),
            "then": {"required": ["block_length"]},
            "else": _without('a key of packing = "blocks"', "block_length"),
        }
    if name == "Task":
        yield from _task_rules()
    if name == "Bounds":
        yield _any_of("min", "max")
    if name == "Distill":
        nothing = {"not": {"properties": {key: {"const": 0} for key in LossWeights.model_fields}}}
        learned = {"properties": {"weights": nothing}}
        yield {"if": {"required": ["relations"]}, "else": learned}
    if name == "Topology":
        several = {"required": ["hosts"], "properties": {"hosts": {"minimum": 2}}}
        yield {"if": several, "then": {"required": ["master_address", "master_port"]}}
    if name in STAGE_NAMES and name != "TaskDistill":
        cache = _without("a key of task_distill", "teacher_cache_gib")
        yield {"properties": {"runtime": cache}}
    if name == "Evaluate":
        yield {"properties": {"expect": _without("a key of trainings", "steps", "finite_loss")}}
    if name == "GeneralDistill":
        include = {"properties": {"distill": _is("padding", "include")}, "required": ["distill"]}
        padded = {"properties": {"data": {"properties": {"packing": {"const": "none"}}}}}
        yield {"if": include, "then": padded}
    if name in ("Finetune", "Evaluate"):
        yield _any_of("teacher", "student")
        second = _without("a second network beside [teacher]", "student")
        yield {"if": {"required": ["teacher"]}, "then": second}
    if name == "TaskDistill":
        yield _any_of("phase1", "phase2")
    if name == "Expect":
        yield {"if": {"required": ["tolerance"]}, "then": {"required": ["reference"]}}


def _task_rules() -> Iterator[Schema]:
    """Yield the rules between the keys of `[task]`."""
    for kind, facts in TASK_KINDS.items():
        fixed = facts.least_labels == facts.most_labels
        number = {"const" if fixed else "minimum": facts.least_labels}
        allowed = {"assessment_method": {"enum": list(facts.selecting)}, "num_labels": number}
        yield {"if": _is("task_type", kind), "then": {"properties": allowed}}
    answers = _is("task_type", "question_answering")
    others = _without("a key of question_answering", "max_answer_length", "no_answer_threshold")
    yield {"if": answers, "then": {"required": ["max_answer_length"]}, "else": others}
    two = {"properties": {"num_labels": {"maximum": 2}}}
    yield {"if": _is("assessment_method", "bf1"), "then": two}


def _completed(definitions: Mapping[str, Schema]) -> Schema:
    """Return the keys of all stages as far as editors complete and explain them."""
    stages = [definitions[stage.__name__] for stage in STAGES.values()]
    return _merged([stage["properties"] for stage in stages], definitions)


def _merged(tables: Sequence[Schema], definitions: Mapping[str, Schema]) -> Schema:
    """Return the keys of several tables, with what is shown of them."""
    keys = dict.fromkeys(key for table in tables for key in table)
    merged: Schema = {}
    for key in keys:
        fields = [table[key] for table in tables if key in table]
        merged[key] = {name: fields[0][name] for name in SHOWN if name in fields[0]}
        names = [field["$ref"].rpartition("/")[2] for field in fields if "$ref" in field]
        inner = [definitions[name]["properties"] for name in dict.fromkeys(names)]
        if inner:
            merged[key]["properties"] = _merged(inner, definitions)
    return merged


def _draft_7(schema: Any) -> Any:
    """Return a schema in the keywords of draft 7, without alternatives that hide a place."""
    if isinstance(schema, list):
        return [_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: value for key, value in schema.items() if key != "discriminator"}
    if schema.get("additionalProperties") is False:
        schema["additionalProperties"] = _refused("unknown key")
    if isinstance(alternatives := schema.pop("oneOf", None), list):
        schema |= _by_type(alternatives)
    if isinstance(items := schema.pop("prefixItems", None), list):
        schema |= {"items": items, "additionalItems": False}
    if isinstance(schema.get("$ref"), str):
        schema["$ref"] = schema["$ref"].replace("#/$defs/", "#/definitions/")
    return {key: _draft_7(value) for key, value in schema.items()}


def _by_type(alternatives: Sequence[Schema]) -> Schema:
    """Return alternatives of different types as one schema, with a branch a type.

    Those that are tables are links, of which each has one key.
    """
    links = {
        key: {"type": "string", "pattern": r"\.json$" if key == "manifest" else r"\.toml$"}
        for link in (ManifestLink, RecipeLink)
        for key in link.model_fields
        if any(each.get("$ref", "").endswith(link.__name__) for each in alternatives)
    }
    plain = [each for each in alternatives if "$ref" not in each]
    if links:
        table = {"type": "object", "properties": links, "additionalProperties": False}
        plain.append(table | {"minProperties": 1, "not": {"required": [*links]}})
    chosen: Schema = {}
    for each in reversed(plain):
        chosen = {"if": {"type": each["type"]}, "then": each, "else": chosen or True}
    return {"type": [each["type"] for each in plain], **chosen}
