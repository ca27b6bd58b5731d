"""Whatever is done to a good recipe, the answer is a recipe or a list of problems."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybert.errors import RecipeError
from tinybert.recipe.load import load
from tinybert.recipe.network import network
from tinybert.recipe.problems import InvalidRecipeError, as_github, as_json, as_text

BASES = [path.read_text("utf-8") for path in sorted((Path(__file__).parent / "bases").iterdir())]
NAMES = sorted({name for base in BASES for name in re.findall(r"^(\w+) =", base, re.MULTILINE)})
HEADERS = sorted({line for base in BASES for line in base.splitlines() if line.startswith("[")})
VALUES = [
    "0", "-1", "3", "0.5", "1e400", "nan", "-inf", "true", '"true"', '""', '"\\u0000"', '"x"',
    "[]", "[1]", "[[1]]", '["a", 2]', "{}", "{ a = 1 }", '{ manifest = "m.json" }',
    "{ recipe = 1, manifest = 2 }", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z",
    "9223372036854775808", "1" + "0" * 400, "2147483648", "'''\nx'''", '"seeded"', '"uniform"',
]  # fmt: skip


@st.composite
def mutated_recipes(draw):
    """Return the bytes of a good recipe after one to four changes."""
    text = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(1, 4))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        name = draw(st.sampled_from(NAMES))
        match draw(st.integers(0, 8)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case 2:
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case 3:
                name = draw(st.sampled_from([name, '"a\\nb"', "'\"'", "ä"]))
                lines[at] = re.sub(r"^\w+ =", lambda _, to=name: f"{to} =", lines[at])
            case 4:
                cut = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:cut] + lines[at][cut + 1 :]
            case 5 | 6:
                lines[at] = re.sub(
                    r"= .*", lambda _: f"= {draw(st.sampled_from(VALUES))}", lines[at]
                )
            case 7:
                lines[at] = draw(st.sampled_from(HEADERS))
            case _:
                lines.insert(at, f"{name} = {draw(st.sampled_from(VALUES))}")
        text = "\n".join(lines)
    return text.encode()


@st.composite
def damaged_recipes(draw):
    """Return the bytes of a good recipe with some of them changed, or without its end."""
    content = bytearray(draw(st.sampled_from(BASES)).encode())
    for _ in range(draw(st.integers(0, 3))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


def check(path, content, overrides=()):
    """Hold the answer to its form, and a recipe that loads to its promises."""
    path.write_bytes(content)
    try:
        resolved = load(path, overrides)
    except InvalidRecipeError as error:
        assert error.problems
        last = content.count(b"\n") + 1
        for problem in error.problems:
            assert problem.message
            assert 0 <= problem.place.line <= last
            assert "\n" not in problem.message + problem.cure
            assert as_text(problem) and as_json(problem) and as_github(problem, "x.toml")
    else:
        assert len(resolved.digest) == 64
        for which in ("teacher", "student"):
            if getattr(resolved.recipe, which) is not None:
                assert network(resolved.recipe, which).vocab_size > 0


def check_override(path, base, table, name, value):
    """Give one key of a good recipe a value on the command line."""
    check(path, base.encode(), [f"{table}{name}={value}"])


OVERRIDES = {
    "base": st.sampled_from(BASES),
    "table": st.sampled_from([header.strip("[]") + "." for header in HEADERS] + ["", "x."]),
    "name": st.sampled_from([*NAMES, "x", ""]),
    "value": st.sampled_from(VALUES) | st.text(max_size=5),
}


@settings(max_examples=350, derandomize=True)
@given(content=mutated_recipes())
def test_changed_lines_never_end_in_a_traceback(tmp_path, content):
    check(tmp_path / "x.toml", content)


@settings(max_examples=175, derandomize=True)
@given(content=damaged_recipes())
def test_changed_bytes_never_end_in_a_traceback(tmp_path, content):
    check(tmp_path / "x.toml", content)


@settings(max_examples=100, derandomize=True)
@given(**OVERRIDES)
def test_overrides_never_end_in_a_traceback(tmp_path, **override):
    check_override(tmp_path / "x.toml", **override)


@pytest.mark.slow
@settings(max_examples=1400, derandomize=True)
@given(content=mutated_recipes())
def test_many_changed_lines_never_end_in_a_traceback(tmp_path, content):
    check(tmp_path / "x.toml", content)


@pytest.mark.slow
@settings(max_examples=700, derandomize=True)
@given(content=damaged_recipes())
def test_many_changed_bytes_never_end_in_a_traceback(tmp_path, content):
    check(tmp_path / "x.toml", content)


@pytest.mark.slow
@settings(max_examples=400, derandomize=True)
@given(**OVERRIDES)
def test_many_overrides_never_end_in_a_traceback(tmp_path, **override):
    check_override(tmp_path / "x.toml", **override)


def test_the_bases_are_good(tmp_path):
    for base in BASES:
        check(tmp_path / "x.toml", base.encode())
        load(tmp_path / "x.toml")


def test_a_broken_recipe_fails(tmp_path):
    (tmp_path / "x.toml").write_bytes(BASES[0].replace("seed = 1", "seed = []").encode())
    with pytest.raises(RecipeError):
        load(tmp_path / "x.toml")
