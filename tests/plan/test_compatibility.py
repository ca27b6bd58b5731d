"""Records and networks that do not mean the same by a token id are refused."""

import json
import shutil

import pytest

from tests.conftest import ROOT
from tests.stand_ins import stand_in_run
from tinybert.data.sidecar import load_sidecar
from tinybert.files import digest_file
from tinybert.manifest.model import InputFile
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load

CURE = "help: prepare the records anew, with the networks' vocabulary and tokenizer options"
OTHER = {"sha256": "0" * 64}


@pytest.fixture
def root(tmp_path):
    """A root with the tiny recipes and records of its own."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    return tmp_path


def change(directory, **changes):
    """Let prepared records say that they were made with another vocabulary."""
    sidecar = load_sidecar(directory)
    vocabulary = sidecar.vocabulary.model_copy(update=changes)
    content = sidecar.model_copy(update={"vocabulary": vocabulary}).to_bytes()
    (directory / "records.json").write_bytes(content)


def recipe_of(root, name):
    (path,) = (root / "recipes").rglob(f"{name}.toml")
    return path


def problems_of(root, recipe, *changes):
    _, problems = make_plan(load(recipe_of(root, recipe), changes), root)
    return [str(problem).replace(f"{root}/", "") for problem in problems]


def run_on(root, recipe, *directories):
    """Leave a run of a recipe that read records; returns its manifest."""
    files = []
    for directory in directories:
        path = directory / "records.json"
        file = digest_file(path)
        name = str(path.relative_to(root))
        files.append(InputFile(role="sidecar", path=name, size=file.size, sha256=file.sha256))
    stand_in_run(root, recipe_of(root, recipe), files)
    (manifest,) = (root / "manifests").glob(f"{recipe}-2*.json")
    return manifest.relative_to(root)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (OTHER, "the records were made with another vocabulary than those in {train}"),
        (
            {"lowercase": False},
            "the records were made with --cased, and those in {train}, with --lowercase",
        ),
        (
            {"strip_accents": False},
            "the records were made with --lowercase --no-strip-accents, and those in {train}, with "
            "--lowercase",
        ),
        (
            {"tokenize_chinese_chars": False},
            "the records were made with --lowercase --no-tokenize-chinese-chars, and those in "
            "{train}, with --lowercase",
        ),
    ],
)
def test_train_and_dev_set_have_one_vocabulary(root, changes, problem):
    assert problems_of(root, "tiny_finetune") == []
    change(root / "recipes/tiny/places/dev", **changes)
    problem = problem.format(train="recipes/tiny/places/train")
    place = "  --> recipes/tiny/places/dev"
    assert problems_of(root, "tiny_finetune") == [f"{problem}\n{place}\n{CURE}"]


def test_a_larger_vocabulary_than_the_networks_is_refused(root):
    assert problems_of(root, "tiny", "network.vocab_size=799") == [
        "the vocabulary of the records has 800 tokens, vocab_size is 799\n"
        "  --> recipes/tiny/records\n"
        "help: prepare the records anew with the networks' vocabulary"
    ]


def test_a_task_is_distilled_with_the_vocabulary_of_teacher_and_student(root):
    places = root / "recipes/tiny/places"
    teacher = run_on(root, "tiny_finetune", places / "train", places / "dev")
    student = run_on(root, "tiny", root / "recipes/tiny/records")
    assert problems_of(root, "tiny_task_distill") == []
    shutil.copytree(places, root / "other")
    moved = ['data.train_data_dir="other/train"', 'data.schema_dir="other/train/schema.json"']
    moved += ['data.eval_data_dir="other/dev"', 'data.eval_schema_dir="other/dev/schema.json"']
    for part in ("train", "dev"):
        change(root / "other" / part, **OTHER)
    assert problems_of(root, "tiny_task_distill", *moved) == [
        f"the records were made with another vocabulary than those of the {which}, {manifest}\n"
        f"  --> other/train\n{CURE}"
        for which, manifest in (("teacher", teacher), ("student", student))
    ]


def test_records_that_were_made_anew_since_a_run_say_nothing_about_it(root):
    run_on(root, "tiny_finetune", root / "recipes/tiny/places/train")
    run_on(root, "tiny", root / "recipes/tiny/records")
    for part in ("train", "dev"):
        change(root / "recipes/tiny/places" / part, lowercase=False)
    (problem,) = problems_of(root, "tiny_task_distill")  # the student's are as they were
    assert "than those" not in problem
    assert "with --cased, and those of the student" in problem


def test_a_directory_of_hugging_face_has_a_vocabulary_and_tokenizer_options(root):
    vocabulary = (ROOT / "recipes/tiny/vocab.txt").read_bytes()
    text = (root / "recipes/tiny/tiny_finetune.toml").read_text()
    source = f'load_teacher_ckpt_path = "{root}/bert"'
    (root / "recipes/real.toml").write_text(text.replace('init = "seeded"', source))
    (root / "bert").mkdir()
    (root / "bert" / "vocab.txt").write_bytes(vocabulary)
    assert problems_of(root, "real") == []
    (root / "bert" / "vocab.txt").write_bytes(vocabulary + b"another\n")
    assert problems_of(root, "real") == [
        "the records were made with another vocabulary than the teacher's, bert/vocab.txt\n"
        f"  --> recipes/tiny/places/train\n{CURE}"
    ]


@pytest.mark.parametrize(
    ("key", "value", "records"),
    [
        ("do_lower_case", False, True),
        ("strip_accents", False, True),
        ("tokenize_chinese_chars", False, True),
    ],
)
def test_records_of_other_options_than_the_tokenizers_are_refused(root, key, value, records):
    text = recipe_of(root, "tiny_finetune").read_text()
    source = f'load_teacher_ckpt_path = "{root}/bert"'
    (root / "recipes/real.toml").write_text(text.replace('init = "seeded"', source))
    (root / "bert").mkdir()
    config = root / "bert" / "tokenizer_config.json"
    config.write_text(json.dumps({key: records}))
    assert problems_of(root, "real") == []
    config.write_text(json.dumps({key: value}))
    assert problems_of(root, "real") == [
        f"{key} is {value} of the teacher's tokenizer and {records} of the records\n"
        f"  --> recipes/tiny/places/train\n{CURE}"
    ]
    if key != "do_lower_case":
        for part in ("train", "dev"):
            change(root / "recipes/tiny/places" / part, **{key: value})
        assert problems_of(root, "real") == []


def test_accents_that_a_tokenizer_strips_with_the_case_are_compared_too(root):
    text = recipe_of(root, "tiny_finetune").read_text()
    source = f'load_teacher_ckpt_path = "{root}/bert"'
    (root / "recipes/real.toml").write_text(text.replace('init = "seeded"', source))
    (root / "bert").mkdir()
    (root / "bert" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    for part in ("train", "dev"):
        change(root / "recipes/tiny/places" / part, strip_accents=False)
    assert problems_of(root, "real") == [
        "strip_accents is True of the teacher's tokenizer and False of the records\n"
        f"  --> recipes/tiny/places/train\n{CURE}"
    ]


def test_labels_of_the_records_may_have_other_names(root):
    names = 'task.label_names={ indoors = "inside" }'
    plan, problems = make_plan(load(recipe_of(root, "tiny_finetune"), [names]), root)
    assert (plan.labels, problems) == (("inside", "outdoors"), [])
    for wrong, message in (
        ('{ inside = "indoors" }', "`inside` is not a label here: `indoors`, `outdoors`"),
        ('{ indoors = "outdoors" }', "label `outdoors` is named twice"),
    ):
        assert problems_of(root, "tiny_finetune", f"task.label_names={wrong}") == [
            f"label_names in [task]: {message}"
        ]


def test_labels_without_names_cannot_have_others(root):
    for part in ("train", "dev"):
        (root / "recipes/tiny/places" / part / "records.json").unlink()
    assert problems_of(root, "tiny_finetune", 'task.label_names={ indoors = "in" }') == [
        "label_names in [task] renames labels, and the records have no names for them\n"
        "help: remove it, or use records that `prepare` made"
    ]


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (None, "the records have no labels, so that nothing can be learned or measured"),
        (
            "number",
            'the records are of `task_type = "regression"`, the recipe of "classification"',
        ),
        (
            "span",
            'the records are of `task_type = "question_answering"`, the recipe of "classification"',
        ),
    ],
)
def test_records_of_another_kind_of_labels_are_refused_by_name(root, label, problem):
    directory = root / "recipes/tiny/places/dev"
    sidecar = load_sidecar(directory)
    task = sidecar.task.model_copy(update={"label": label})
    content = sidecar.model_copy(update={"task": task}).to_bytes()
    (directory / "records.json").write_bytes(content)
    problems = problems_of(root, "tiny_finetune")
    assert any(problem in each and "places/dev" in each for each in problems), problems


def test_answers_are_measured_on_what_prepare_qa_made(root):
    changes = (
        "task.task_type='question_answering'",
        "task.assessment_method='f1'",
        "task.max_answer_length=3",
        "expect.metrics=",
    )
    problems = problems_of(root, "tiny_finetune", *changes)
    message = "answers are measured on whole records of one directory that `prepare qa` made"
    assert any(message in each for each in problems), problems
