"""tomli's values and tree-sitter's places belong together."""

import json

import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybert.recipe.source import parse

BARE = st.text("abcdefgh_-01234", min_size=1, max_size=6)
NAMES = BARE | st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0x2FFF), max_size=5
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=4)


def key(name, draw):
    bare = name != "" and all(c in "abcdefgh_-01234" for c in name)
    if bare and draw(st.booleans()):
        return name
    if "'" not in name and draw(st.booleans()):
        return f"'{name}'"
    return json.dumps(name, ensure_ascii=draw(st.booleans()) and name.isascii())


def written(value, draw):
    """Return a value in one of TOML's forms."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "'" not in value and draw(st.booleans()):
            return f"'{value}'"
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        gap = draw(st.sampled_from(["", " ", "\n  ", " # é\n"]))
        return f"[{','.join(gap + written(item, draw) for item in value)}{gap}]"
    if isinstance(value, dict):
        return f"{{{', '.join(pair(name, item, draw) for name, item in value.items())}}}"
    return repr(value)


def pair(name, value, draw):
    """Return `name = value`, the tables above the first fork as a dotted key."""
    text = key(name, draw)
    while isinstance(value, dict) and len(value) == 1 and draw(st.booleans()):
        ((name, value),) = value.items()
        text += draw(st.sampled_from([".", " . "])) + key(name, draw)
    return f"{text} = {written(value, draw)}"


@st.composite
def documents(draw):
    """Return the text of a TOML document with headers, arrays of tables and comments."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = [pair(name, value, draw) for name, value in draw(TABLES).items()]
    taken = set(tomli.loads("\n".join(lines)))
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        if name in taken:
            continue
        if draw(st.booleans()):
            header = [f"[[{key(name, draw)}]]"] * draw(st.integers(1, 3))
        else:
            header = [f"[{key(name, draw)}.{key('inner', draw)}]", f"[ {key(name, draw)} ]"]
        for line in header:
            lines.append(line + draw(st.sampled_from(["", " # [x]"])))
            body = {f"{name}_{at}": value for at, value in enumerate(draw(TABLES).values())}
            lines += [pair(inner, value, draw) for inner, value in body.items()]
    return end.join(line.replace("\n", end) for line in lines) + end


def leaf_paths(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from leaf_paths(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield (*path, index)
            yield from leaf_paths(inner, (*path, index))


@settings(max_examples=300, derandomize=True)
@given(documents())
def test_both_parsers_see_the_same_keys_and_values(text):
    document = parse("x.toml", text.encode())
    assert document.values == tomli.loads(text)
    assert set(document.keys) == set(leaf_paths(document.values))
    for path, place in document.keys.items():
        name = path[-1]
        marked = place.text[place.column - 1 :][: place.length]
        if isinstance(name, str) and not marked.startswith("["):
            assert list(tomli.loads(f"{marked} = 0")) == [name]
    lines = text.replace("\r\n", "\n").split("\n")
    for path, place in document.places.items():
        assert place.text == lines[place.line - 1]
        marked = place.text[place.column - 1 :][: place.length]
        rest = "\n".join([marked, *lines[place.line :]])
        if not isinstance(document.value(path), list | dict):
            assert tomli.loads(f"value = {marked}")["value"] == document.value(path)
        else:
            assert rest.startswith(("[", "{"))


def test_places_are_counted_in_characters_from_1():
    document = parse("x.toml", '"ß" = { "ä" = [1,\n 22] } # é\n'.encode())
    assert str(document.keys["ß",]) == "x.toml:1:1"
    assert str(document.keys["ß", "ä"]) == "x.toml:1:9"
    assert document.keys["ß", "ä"].length == 3
    assert str(document.places["ß", "ä", 0]) == "x.toml:1:16"
    assert str(document.places["ß", "ä", 1]) == "x.toml:2:2"
    assert document.places["ß", "ä", 1].length == 2


def test_a_table_opened_by_its_inner_table_is_at_its_own_header_if_it_has_one():
    document = parse("x.toml", b"[a.b]\n[a]\n[c.d]\n")
    assert str(document.key_place(("a",))) == "x.toml:2:1"
    assert str(document.key_place(("c",))) == "x.toml:3:2"
    assert str(document.key_place(("c", "missing"))) == "x.toml:3:2"
    assert str(document.key_place(("missing",))) == "x.toml"


def test_toml_beyond_tree_sitter_keeps_its_values_and_loses_only_places():
    document = parse("x.toml", b"a = {x = 1,\n y = 2,\n}\nb = 1\n")
    assert document.values == {"a": {"x": 1, "y": 2}, "b": 1}
    assert str(document.key_place(("b",))) == "x.toml:4:1"
