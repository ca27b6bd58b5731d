"""Every kind of mistake, with the whole text of the answer.

The cases are in bad_recipes.toml: an edit of a good recipe in bases/, and what it is answered.
"""

from pathlib import Path

import pytest
import tomli

from tinybert.errors import RecipeError
from tinybert.recipe.load import load

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
    assert str(caught.value) == "the recipe cannot be read: embedded null byte\n  --> a\0b.toml"


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
