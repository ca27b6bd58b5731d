"""Every kind of mistake, with the whole text of the answer.

The cases are in bad_recipes.toml: an edit of a good recipe in bases/, and what it is answered.
"""

import os
import re
import time
from pathlib import Path

import pytest
import tomli

from tests.conftest import SHIPPED
from tinybert.errors import RecipeError
from tinybert.recipe.load import load
from tinybert.recipe.source import MAX_BYTES
from tinybert.recipe.validate import validate

HERE = Path(__file__).parent
CASES = tomli.loads((HERE / "bad_recipes.toml").read_text("utf-8"))["case"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "_"))
def test_answer_names_every_problem_with_place_and_cure(case, tmp_path, monkeypatch):
    text = (HERE / "bases" / f"{case['base']}.toml").read_text("utf-8")
    for old, new in case["edits"]:
        assert text.count(old) == 1, f"the edit {old!r} is not unique"
        text = text.replace(old, new)
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text(text, "utf-8")
    with pytest.raises(RecipeError) as caught:
        load("x.toml")
    assert f"error: {caught.value}\n" == case["answer"]


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (
            b'\xef\xbb\xbfstage = "evaluate"\r\n',
            """\
the file starts with a byte order mark
  --> x.toml:1:1
  |
1 | stage = "evaluate"
  | ^
help: save the file as UTF-8 without byte order mark""",
        ),
        (
            "seed = 1\n# é ".encode() + b"caf\xe9\n",
            """\
not UTF-8: byte 0xe9
  --> x.toml:2:8
  |
2 | # é caf\ufffd
  |        ^
help: save the file as UTF-8""",
        ),
        (
            b"a = " + b"[" * 1000,
            """\
not valid TOML: TOML inline arrays/tables are nested more than the allowed 400 levels
  --> x.toml""",
        ),
        (
            b"a = " + b"9" * 5000,
            """\
not valid TOML: Exceeds the limit (4300 digits) for integer string conversion: \
value has 5000 digits
  --> x.toml""",
        ),
        (
            b"a = 1\x07\n",
            """\
not valid TOML: expected newline or end of document after a statement
  --> x.toml:1:6
  |
1 | a = 1\x20
  |      ^""",
        ),
    ],
    ids=["byte_order_mark", "not_utf8", "too_deep", "too_many_digits", "control_character"],
)
def test_a_file_that_is_no_toml_gets_one_problem(content, answer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load("x.toml")
    assert str(caught.value) == answer


def test_a_missing_recipe_and_a_directory_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load("none.toml")
    assert str(caught.value) == "no such recipe\n  --> none.toml"
    with pytest.raises(RecipeError) as caught:
        load(".")
    assert str(caught.value) == (
        "a directory, not a recipe\n  --> .\nhelp: name a recipe, such as recipes/tiny.toml"
    )
    with pytest.raises(RecipeError) as caught:
        load("a\0b.toml")
    assert str(caught.value) == "no such recipe\n  --> a\0b.toml"
    os.mkfifo("fifo.toml")
    with pytest.raises(RecipeError) as caught:
        load("fifo.toml")
    assert str(caught.value) == ("the recipe cannot be read: not a regular file\n  --> fifo.toml")
    Path("large.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RecipeError) as caught:
        load("large.toml")
    assert str(caught.value) == "the recipe is larger than 1,048,576 bytes\n  --> large.toml"


@pytest.mark.parametrize(
    "text",
    [".".join("a" * 999) + " = 1", f"[{'.'.join('a' * 999)}]", "a = " + "[" * 300 + "]" * 300],
    ids=["key", "table", "array"],
)
def test_deep_nesting_is_one_problem(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("deep.toml").write_text(text)
    for overrides in ((), ("seed=2",)):
        with pytest.raises(RecipeError) as caught:
            load("deep.toml", overrides)
        assert str(caught.value) == "the recipe is nested too deeply\n  --> deep.toml"


@pytest.mark.parametrize(
    "override",
    [
        "a" + ".a" * 999 + "=1",
        "seed=" + "[" * 500 + "]" * 500,
        "seed=" + "{a=" * 99 + "1" + "}" * 99,
    ],
)
def test_deep_nesting_of_an_override_is_one_problem(override):
    with pytest.raises(RecipeError) as caught:
        load(SHIPPED["tiny"], [override])
    assert len(caught.value.problems) == 1


def test_a_long_array_of_wrong_items_is_one_short_answer(tmp_path):
    text = SHIPPED["tiny"].read_text()
    items = ", ".join(["1"] * 10_000)
    path = tmp_path / "tiny.toml"
    path.write_text(re.sub("no_decay = .*", f"no_decay = [{items}]", text))
    began = time.process_time()
    answer, code = validate([str(path)])
    assert time.process_time() - began < 2
    assert code == 1
    assert answer.endswith(f"{path}: 101 problems")
    assert "error: 9,900 more problems in `optimizer.no_decay`\n" in answer
    assert len(answer) < 100_000


def test_many_unknown_keys_are_one_short_answer(tmp_path):
    path = tmp_path / "tiny.toml"
    keys = "".join(f"key{number} = 1\n" for number in range(10_000))
    path.write_text(keys + SHIPPED["tiny"].read_text())
    began = time.process_time()
    answer, _ = validate([str(path)])
    assert time.process_time() - began < 2
    assert answer.endswith(f"{path}: 101 problems")
    assert "error: 9,900 more problems at the top level\n" in answer


def test_a_long_line_is_cut_around_its_mark(tmp_path):
    path = tmp_path / "long.toml"
    path.write_text("stage" + " " * 300 + "= 1" + " " * 300 + "# é\n")
    answer, _ = validate([str(path)])
    shown, mark = answer.split("\n")[3:5]
    assert shown == "1 | ..." + " " * 38 + "= 1" + " " * 119 + "..."
    assert mark == "  | " + " " * 43 + "^"


def test_an_empty_recipe_lists_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text("")
    with pytest.raises(RecipeError) as caught:
        load("x.toml")
    messages = [block.split("\n")[0] for block in f"error: {caught.value}".split("\n\n")]
    assert messages == [
        "error: missing table [topology]",
        "error: missing table [runtime]",
        "error: missing table [task]",
        "error: missing table [data]",
        "error: missing keys `stage` and `seed` at the top level",
        "error: missing table [teacher] or [student], the network to evaluate",
        "error: missing keys `vocab_size`, `num_attention_heads`, `hidden_act`, `layer_norm_eps`, "
        "`max_position_embeddings`, `type_vocab_size`, `initializer_range`, "
        "`use_relative_positions`, `enable_fused_layernorm`, `dtype` and `compute_type` "
        "in [network]",
    ]
