"""Vocabulary and tokenizer go from the records, or a checkpoint, into the folder of a run."""

import json
import shutil

import pytest

import runner
from tests.conftest import ROOT, SHIPPED
from tests.stand_ins import stand_in_run
from tinybert.manifest.document import TOKENIZER_FOLDER, Run
from tinybert.plan.plan import make_plan
from tinybert.plan.tokenizer import keep_tokenizer, kept_vocabulary
from tinybert.prepare.vocabulary import load_vocabulary
from tinybert.recipe.load import load

PLACES = ROOT / "recipes" / "tiny" / "places"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "recipes" / "tiny").mkdir(parents=True)
    shutil.copytree(PLACES, tmp_path / "recipes" / "tiny" / "places")
    return tmp_path


def kept(root, recipe="tiny_finetune"):
    """Return what is kept of a run that would read the records below the root."""
    plan, problems = make_plan(load(SHIPPED[recipe]), root)
    assert problems == []
    (root / "run").mkdir()
    keep_tokenizer(plan, root / "run")
    return {path.name: path for path in (root / "run").glob(f"{TOKENIZER_FOLDER}/*")}


def test_they_are_those_of_the_records(root):
    files = kept(root)
    assert files["vocab.txt"].read_bytes() == (PLACES / "train" / "vocab.txt").read_bytes()
    assert json.loads(files["tokenizer_config.json"].read_text()) == {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": 32,
    }


def test_another_vocabulary_beside_the_records_is_not_taken(root):
    vocab = root / "recipes" / "tiny" / "places" / "train" / "vocab.txt"
    vocab.write_text(vocab.read_text().replace("\nthe\n", "\nzthe\n"))
    assert load_vocabulary(kept(root)["vocab.txt"]).ids["the"], "that of the other records"


def test_nothing_is_kept_where_nothing_is_known(root):
    for vocab in root.rglob("vocab.txt"):
        vocab.unlink()
    assert kept(root) == {}


def test_a_tokenizer_of_another_program_is_not_kept(root):
    for part in ("train", "dev"):
        (root / "recipes" / "tiny" / "places" / part / "records.json").unlink()
    recipe = load(SHIPPED["tiny_finetune"], ["teacher.load_teacher_ckpt_path=bert"])
    shutil.copytree(PLACES / "train", root / "bert", ignore=shutil.ignore_patterns("*rec*"))
    for config, kept in (("{}", ["vocab.txt"]), ('{"tokenizer_class": "Other"}', [])):
        (root / "bert" / "tokenizer_config.json").write_text(config)
        plan, problems = make_plan(recipe, root)
        assert problems == []
        folder = root / f"run{len(kept)}"
        folder.mkdir()
        keep_tokenizer(plan, folder)
        assert [path.name for path in folder.glob("tokenizer/*")] == kept


def test_a_run_that_kept_none_has_the_one_beside_its_records(root):
    run = Run.load(stand_in_run(root, SHIPPED["tiny_finetune"]))
    assert kept_vocabulary(run, []) is None
    plan, _ = make_plan(load(SHIPPED["tiny_finetune"]), root)
    prepared = plan.records["data"].source.sidecars()
    assert kept_vocabulary(run, prepared) == prepared[0][0] / "vocab.txt"


@pytest.mark.parametrize(
    ("case", "warned"), [((), True), (("--cased",), False), (("--lowercase",), False)]
)
def test_a_vocabulary_without_capitals_needs_its_case_said(tmp_path, capsys, case, warned):
    words = ["prepare", "table", PLACES / "dev.tsv", "--text", "sentence", "--label", "label"]
    words += ["--vocab", ROOT / "recipes" / "tiny" / "vocab.txt", "--seq-length", 32]
    assert runner.main([*map(str, words), "--output", str(tmp_path / "out"), *case]) == 0
    assert ("warning: no token of " in capsys.readouterr().err) == warned
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == (
        ROOT / "recipes" / "tiny" / "vocab.txt"
    ).read_bytes()
