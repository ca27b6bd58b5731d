"""The part of JSON Schema, draft 7, that the recipe's schema uses."""

import re

KEYWORDS = {
    *("$ref", "type", "enum", "const", "properties", "required", "additionalProperties"),
    *("patternProperties", "minProperties", "maxProperties", "items", "additionalItems"),
    *("minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("pattern", "if", "then", "else", "allOf", "anyOf", "not"),
}
ANNOTATIONS = {"$schema", "title", "description", "examples", "default", "definitions"}
TYPES = {
    **{"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)},
    **{"integer": int, "number": (int, float)},
}


def has_type(value, names):
    names = [names] if isinstance(names, str) else names
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return any(
        isinstance(value, TYPES[name]) and (name not in ("integer", "number") or number)
        for name in names
    )


def errors(rule, value, whole, path=()):
    """Yield the place of every mistake of a value, as a tuple of keys."""
    if isinstance(rule, bool):
        if not rule:
            yield path
        return
    if "$ref" in rule:
        yield from errors(whole["definitions"][rule["$ref"].split("/")[-1]], value, whole, path)
        return
    assert rule.keys() <= KEYWORDS | ANNOTATIONS, rule.keys() - KEYWORDS - ANNOTATIONS

    def valid(one):
        return not any(True for _ in errors(one, value, whole, path))

    checks = [
        "type" not in rule or has_type(value, rule["type"]),
        "enum" not in rule or value in rule["enum"],
        "const" not in rule or value == rule["const"],
        "anyOf" not in rule or any(map(valid, rule["anyOf"])),
        "not" not in rule or not valid(rule["not"]),
    ]
    if has_type(value, "number"):
        checks += [
            value >= rule.get("minimum", value),
            value <= rule.get("maximum", value),
            "exclusiveMinimum" not in rule or value > rule["exclusiveMinimum"],
            "exclusiveMaximum" not in rule or value < rule["exclusiveMaximum"],
        ]
    if isinstance(value, str) and "pattern" in rule:
        checks.append(re.search(rule["pattern"], value) is not None)
    yield from (path for check in checks if not check)
    for one in rule.get("allOf", []):
        yield from errors(one, value, whole, path)
    if "if" in rule:
        branch = "then" if valid(rule["if"]) else "else"
        yield from errors(rule.get(branch, True), value, whole, path)
    if isinstance(value, list):
        yield from list_errors(rule, value, whole, path)
    if isinstance(value, dict):
        yield from table_errors(rule, value, whole, path)


def list_errors(rule, value, whole, path):
    if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
        yield path
    items = rule.get("items", True)
    rest = [rule.get("additionalItems", True)] * len(value)
    rules = [*items, *rest] if isinstance(items, list) else [items] * len(value)
    for place, (one, item) in enumerate(zip(rules, value, strict=False)):
        yield from errors(one, item, whole, (*path, place))


def table_errors(rule, value, whole, path):
    if not rule.get("minProperties", 0) <= len(value) <= rule.get("maxProperties", len(value)):
        yield path
    yield from (path for key in rule.get("required", []) if key not in value)
    for key, inner in value.items():
        patterns = rule.get("patternProperties", {})
        known = [one for pattern, one in patterns.items() if re.search(pattern, key)]
        known += [rule["properties"][key]] if key in rule.get("properties", {}) else []
        for one in known or [rule.get("additionalProperties", True)]:
            yield from errors(one, inner, whole, (*path, key))


def subschemas(schema):
    """Yield every schema in a schema, the whole one first."""
    if not isinstance(schema, dict):
        return
    yield schema
    for name in ("properties", "patternProperties", "definitions"):
        for inner in schema.get(name, {}).values():
            yield from subschemas(inner)
    for name in ("if", "then", "else", "not", "additionalProperties", "additionalItems"):
        yield from subschemas(schema.get(name))
    items = schema.get("items", [])
    for one in [*schema.get("allOf", []), *schema.get("anyOf", [])]:
        yield from subschemas(one)
    for one in items if isinstance(items, list) else [items]:
        yield from subschemas(one)
