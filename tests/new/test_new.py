"""The command `new`: recipes that plan their runs, from a teacher and data."""

import json
import re
import shutil
from dataclasses import replace

import pytest

import runner
from tests.conftest import ROOT, SHIPPED
from tests.model.networks import random_weights
from tinybert.data.sidecar import TokenizerOptions, load_sidecar
from tinybert.export.checkpoint import write_huggingface
from tinybert.export.network import TrainedNetwork
from tinybert.export.source import Source
from tinybert.model.description import TextKeys
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary
from tinybert.recipe.load import load
from tinybert.recipe.network import network

TINY = ROOT / "recipes" / "tiny"
ORIGINS = {"teacher", "student", "records", "paper", "bert", "here", "you", "chain", "form"}
CONLL = "the O\nriver B-place\nis O\ncold O\n\na O\ntown B-place\nby I-place\n\n"

PARAGRAPHS = [
    {
        "context": "the river is cold and the town is old",
        "qas": [
            {
                "id": str(number),
                "question": "what is old ?",
                "answers": [{"text": "the town", "answer_start": 22}],
            }
        ],
    }
    for number in range(20)
]


def write_model(directory, config):
    """Write a model with random weights in Hugging Face's files."""
    found = TrainedNetwork(config, None, None, random_weights(config), ())
    directory.mkdir()
    texts = TextKeys(seq_length=32)
    source = Source(found, directory / "x", None, TINY / "vocab.txt", texts, lowercase=True)
    write_huggingface(source, directory)


@pytest.fixture
def teacher():
    return network(load(SHIPPED["tiny_finetune"]).recipe, "teacher")


@pytest.fixture
def root(tmp_path, monkeypatch, teacher):
    """A directory with a teacher in `bert`, tables and tags."""
    write_model(tmp_path / "bert", teacher)
    for part in ("train", "dev"):
        shutil.copy(TINY / "places" / f"{part}.tsv", tmp_path / f"{part}.tsv")
    (tmp_path / "tags.txt").write_text(CONLL * 20)
    rows = ({"a": "a town", "y": ["x", "z"][: i % 3]} for i in range(40))
    (tmp_path / "sets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "asked.json").write_text(json.dumps({"data": [{"paragraphs": PARAGRAPHS}]}))
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"a": "a town", "b": "the sea", "y": i / 8}) + "\n" for i in range(40))
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


TABLE = ("--text", "sentence", "--label", "label")


@pytest.fixture
def new(root, capsys):
    """Call `new`; returns exit code, standard output, standard error."""

    def call(*words, student="2x24", data="train.tsv"):
        arguments = ["new", "mine", "--teacher", "bert", "--student", student, "--data", data]
        code = runner.main([*arguments, "--seq-length", "32", "--root", str(root), *words])
        return code, *capsys.readouterr()

    return call


def made(root):
    return sorted(path.name for path in root.glob("recipes/mine/*"))


def test_a_table_becomes_a_chain_that_plans_its_runs(root, new, capsys):
    code, out, err = new(*TABLE)
    assert (code, err) == (0, "")
    rows = len((root / "train.tsv").read_text().splitlines()) - 1
    held_out = -(-rows // 10)
    assert out.splitlines() == [
        f"data/mine/train: {rows - held_out} rows of 32 tokens",
        "warning: 39 of them are cut; the longest has 47 tokens",
        f"data/mine/dev: {held_out} rows of 32 tokens",
        "warning: 9 of them are cut; the longest has 38 tokens",
        "recipes/mine/mine_finetune.toml",
        "recipes/mine/mine_distill.toml",
        "recipes/mine/mine_evaluate.toml",
        "run them: python runner.py run --with-parents recipes/mine/mine_evaluate.toml "
        f"--root {root}",
    ]
    counts = load_sidecar(root / "data" / "mine" / "dev").counts
    assert counts["rows_of_other_part"] == rows - held_out
    chain = ["run", "--with-parents", "recipes/mine/mine_evaluate.toml", "--root", str(root)]
    assert runner.main([*chain, "--dry-run"]) == 0
    assert capsys.readouterr().err.count("planned when the runs it links to are there") == 2


def test_each_value_has_an_origin(root, new):
    assert new(*TABLE, "--corpus", str(TINY / "text"))[0] == 0
    assert made(root) == [f"mine_{k}.toml" for k in ("distill", "evaluate", "finetune", "general")]
    for path in root.glob("recipes/mine/*.toml"):
        text = path.read_text()
        for line in text.splitlines():
            if re.match(r"[a-z]", line) and not line.startswith("stage = "):
                value, _, origin = line.partition("  # ")
                assert origin.split(":")[0] in ORIGINS, line
                assert len(value) < 100
        assert max(map(len, text.splitlines())) <= 110
    values = load("recipes/mine/mine_distill.toml").values
    assert values["student"]["load_student_ckpt_path"] == {
        "recipe": "recipes/mine/mine_general.toml"
    }
    assert values["network"]["num_attention_heads"] == 4
    assert values["task"]["num_labels"] == 2
    assert values["student"]["intermediate_size"] == 96


def test_a_dev_set_of_its_own_has_the_labels_of_the_training(root, new):
    text = (root / "dev.tsv").read_text().splitlines()
    (root / "dev.tsv").write_text("\n".join(line for line in text if "outdoors" not in line))
    assert new(*TABLE, "--dev", "dev.tsv")[0] == 0
    assert load_sidecar(root / "data" / "mine" / "dev").task.labels == ("indoors", "outdoors")


@pytest.mark.parametrize(
    ("words", "data", "task"),
    [
        (
            ("--text", "a", "--text-pair", "b", "--label", "y", "--label-kind", "number"),
            "pairs.jsonl",
            {"task_type": "regression", "num_labels": 1, "assessment_method": "pearson"},
        ),
        (
            ("--tags", "conll"),
            "tags.txt",
            {"task_type": "ner", "num_labels": 3, "assessment_method": "entity_f1"},
        ),
        (
            ("--text", "a", "--label", "y", "--label-kind", "classes"),
            "sets.jsonl",
            {
                "task_type": "multi_label_classification",
                "num_labels": 2,
                "assessment_method": "micro_f1",
            },
        ),
        (
            ("--questions", "SQuAD-2.0"),
            "asked.json",
            {
                "task_type": "question_answering",
                "num_labels": 2,
                "assessment_method": "f1",
                "max_answer_length": 30,
                "no_answer_threshold": 0.0,
            },
        ),
    ],
)
def test_the_task_is_that_of_the_data(root, new, words, data, task):
    assert new(*words, data=data)[0] == 0
    values = load("recipes/mine/mine_distill.toml").values
    assert values["task"] == {"task_name": "mine", **task}
    weight = 1.0 if task["task_type"] == "regression" else 0.0
    assert values["phase2"]["distill"]["hard_label_weight"] == weight
    dropout = 0.0 if task["task_type"] == "question_answering" else 0.1
    assert values["student"]["classifier_dropout_prob"] == dropout


def test_prepared_records_are_taken_as_they_are(root, new):
    assert new(data=str(TINY / "places"))[0] == 0
    values = load("recipes/mine/mine_finetune.toml").values
    assert values["data"]["train_data_dir"] == str(TINY / "places" / "train")
    assert not (root / "data").exists()


MISTAKES = {
    "no table": (("--data", "no.tsv", *TABLE), "cannot be read: No such file"),
    "no column": (("--text", "x", "--label", "label"), "column `x` is missing; found: "),
    "unnamed columns": ((), "a table needs the names of its columns"),
    "no teacher": ((*TABLE, "--teacher", "none"), "the teacher's directory lacks config.json"),
    "width": ((*TABLE, "--student", "2x25"), "a width of 25 does not divide into the teacher's 4"),
    "layers": ((*TABLE, "--student", "5x24"), "a student has 1 to 4 layers"),
    "sizes": ((*TABLE, "--student", "tiny"), "`tiny` is neither the sizes of a student nor a"),
    "no student": ((*TABLE, "--student", "."), "the student's directory lacks config.json"),
    "long rows": ((*TABLE, "--seq-length", "64"), "have 32 positions, fewer than --seq-length 64"),
    "no text": ((*TABLE, "--corpus", "none"), "the input names no text file"),
    "copied width": (
        (*TABLE, "--student", "2x24", "--init", "teacher"),
        "layers of the teacher are 48 wide, and 96 in the feed-forward part",
    ),
    "two origins": (
        (*TABLE, "--student", "bert", "--init", "teacher"),
        "`bert` has weights to begin from",
    ),
    "no dev set": (("--data", str(TINY / "places" / "train")), "there is no dev set beside"),
    "no records": (("--data", "bert"), "the directory holds no records.json"),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_message_and_writes_no_recipe(root, new, words, message):
    code, out, err = new(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("error:") == 1
    assert made(root) == []


def test_a_teacher_may_have_its_vocabulary_in_tokenizer_json(root, new):
    (root / "bert" / "vocab.txt").unlink()
    assert "the teacher's directory lacks vocab.txt, and a tokenizer.json" in new(*TABLE)[2]
    tokenizer = build_tokenizer(load_vocabulary(TINY / "vocab.txt"), TokenizerOptions(True, True))
    tokenizer.save(str(root / "bert" / "tokenizer.json"))
    assert new(*TABLE)[0] == 0
    vocab = root / "data" / "mine" / "train" / "vocab.txt"
    assert vocab.read_bytes() == (TINY / "vocab.txt").read_bytes()


def test_a_teacher_without_weights_that_fit_is_refused(root, new):
    config = json.loads((root / "bert" / "config.json").read_text())
    (root / "bert" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    code, _, err = new(*TABLE)
    assert code == 2
    assert "unknown: " in err
    assert made(root) == []
    assert not (root / "data" / "mine").exists(), "the command can be repeated"


def test_layers_that_do_not_divide_are_spread(root, new):
    assert new(*TABLE, student="3x24")[0] == 0
    values = load("recipes/mine/mine_distill.toml").values
    assert values["phase1"]["distill"]["layer_map"] == [1, 3, 4]


def test_a_student_may_begin_as_layers_of_the_teacher(root, new):
    corpus = ("--corpus", str(TINY / "text"))
    assert new(*TABLE, *corpus, "--init", "teacher", student="3x48")[0] == 0
    student = load("recipes/mine/mine_general.toml").values["student"]
    assert student["init"] == "teacher"
    assert load("recipes/mine/mine_distill.toml").values["phase1"]["distill"]["fit_dense"] == "none"
    sizes = ("hidden_size", "num_hidden_layers", "intermediate_size")
    assert [student[key] for key in sizes] == [48, 3, 96]
    assert "student" not in load("recipes/mine/mine_finetune.toml").values
    text = (root / "recipes" / "mine" / "mine_general.toml").read_text()
    assert re.search(r'init = "teacher" +# you\n', text)
    assert re.search(r"intermediate_size = 96 +# teacher\n", text)


def test_a_student_of_its_own_files_begins_from_them(root, new, teacher):
    config = replace(teacher, num_hidden_layers=2, hidden_size=24, layer_norm_eps=1e-12)
    write_model(root / "small", replace(config, hidden_dropout_prob=0.2))
    assert new(*TABLE, student="small")[0] == 0
    values = load("recipes/mine/mine_distill.toml").values
    student = values["student"]
    assert (student["load_student_ckpt_path"], student["hidden_size"]) == ("small", 24)
    assert (student["layer_norm_eps"], student["hidden_dropout_prob"]) == (1e-12, 0.2)
    assert values["teacher"]["layer_norm_eps"] == teacher.layer_norm_eps
    assert "layer_norm_eps" not in values["network"]
    assert values["phase1"]["distill"]["weights"] == {"attention": 1.0, "hidden": 1.0}
    assert load("recipes/mine/mine_evaluate.toml").values["network"]["layer_norm_eps"] == 1e-12


def test_a_student_with_other_heads_is_taught_without_their_attention(root, new, teacher):
    write_model(root / "small", replace(teacher, num_hidden_layers=2, num_attention_heads=2))
    assert new(*TABLE, "--corpus", str(TINY / "text"), student="small")[0] == 0
    general, distill = (load(f"recipes/mine/mine_{k}.toml").values for k in ("general", "distill"))
    assert general["student"]["load_student_ckpt_path"] == "small"
    link = {"recipe": "recipes/mine/mine_general.toml"}
    assert distill["student"]["load_student_ckpt_path"] == link
    for table in (general, distill["phase1"]):
        assert table["distill"]["weights"] == {"attention": 0.0, "hidden": 1.0}


def test_a_student_with_another_vocabulary_is_refused(root, new, teacher):
    write_model(root / "small", replace(teacher, vocab_size=900))
    code, _, err = new(*TABLE, student="small")
    assert (code, "the student has 900 token ids, the teacher 800" in err) == (2, True)
    assert made(root) == []


def test_recipes_that_are_there_are_not_replaced(root, new):
    assert new(*TABLE)[0] == 0
    before = (root / "recipes" / "mine" / "mine_distill.toml").read_text()
    code, _, err = new(*TABLE, student="1x24")
    assert (code, "there are recipes of this name" in err) == (2, True)
    assert (root / "recipes" / "mine" / "mine_distill.toml").read_text() == before
    assert new(*TABLE, "--force", student="1x24")[0] == 0
    assert load("recipes/mine/mine_distill.toml").values["student"]["num_hidden_layers"] == 1
