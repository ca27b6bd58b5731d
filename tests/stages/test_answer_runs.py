"""Answers to questions through all stages: a tiny network learns where the answers are."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import ROOT, folder, read_json
from tests.stages.test_task_runs import LINKED, PACKED

PLACES = ("river", "town", "sea", "garden")
OTHERS = ("the", "cold", "green", "stone", "house", "road", "water", "tree", "and", "of")
VOCAB = ROOT / "recipes/tiny/vocab.txt"
TASK = {
    'task_type = "classification"': 'task_type = "question_answering"',
    'assessment_method = "accuracy"': 'assessment_method = "f1"\nmax_answer_length = 3\n'
    "no_answer_threshold = 0.0",
    "recipes/tiny/places": "asked",
}
LEARNED = {
    "epoch_size = 4": "epoch_size = 12",
    "learning_rate = 1e-3": "learning_rate = 5e-3",
    "classifier_dropout_prob = 0.1": "classifier_dropout_prob = 0.0",
}


def questions(count, seed):
    """Return SQuAD's JSON: contexts with one place, two words long, or with none."""
    dice, paragraphs = np.random.default_rng(seed), []
    for number in range(count):
        words = dice.choice(OTHERS, int(dice.integers(8, 36))).tolist()
        answers = []
        if number % 4:
            at = int(dice.integers(0, len(words)))
            words[at : at + 1] = ["old", str(dice.choice(PLACES))]
            start = len("".join(f"{word} " for word in words[:at]))
            answers.append({"text": f"old {words[at + 1]}", "answer_start": start})
        asked = {"id": f"q{number}", "question": "where ?", "answers": answers}
        asked["is_impossible"] = not answers
        paragraphs.append({"context": " ".join(words), "qas": [asked]})
    return {"version": "v2.0", "data": [{"title": "places", "paragraphs": paragraphs}]}


@pytest.fixture(scope="module")
def asked(runner):
    """Records of questions in `asked/train` and `asked/dev`, and the dev set's JSON."""
    for part, count, seed in (("train", 240, 1), ("dev", 48, 2)):
        source = runner.root / f"{part}.json"
        source.write_text(json.dumps(questions(count, seed)))
        code, _, err = runner.ask(
            *("prepare", "qa", "SQuAD-2.0", source, "--lowercase", "--vocab", VOCAB),
            *("--seq-length", "32", "--stride", "10", "--output", runner.root / "asked" / part),
        )
        assert code == 0, err
    return questions(48, 2)


@pytest.fixture(scope="module")
def taught(runner, write_recipe, asked):
    recipe = write_recipe("answers_teach", "tiny_finetune", TASK | LEARNED)
    return runner.run(recipe, "--fresh")


@pytest.fixture(scope="module")
def evaluated(runner, write_recipe, taught):
    teacher = {
        "[student]": "[teacher]",
        'load_student_ckpt_path = { recipe = "recipes/tiny/tiny_task_distill.toml" }': (
            f"load_teacher_ckpt_path = {{ manifest = {json.dumps(str(taught))} }}"
        ),
        "hidden_size = 8\nnum_hidden_layers = 1\nintermediate_size = 16": (
            "hidden_size = 16\nnum_hidden_layers = 2\nintermediate_size = 24"
        ),
    }
    return runner.run(write_recipe("answers_measure", "tiny_evaluate", TASK | teacher), "--fresh")


def test_a_tiny_network_learns_where_the_answers_are(taught):
    outcome = read_json(taught)["outcome"]
    assert set(outcome["metrics"]) == {"loss", "mean_loss", "exact_match", "f1"}
    assert outcome["best_metrics"]["f1"]["value"] > 0.9
    assert outcome["best_metrics"]["exact_match"]["value"] > 0.6


def test_an_evaluation_keeps_answers_as_the_official_program_reads_them(asked, taught, evaluated):
    manifest = read_json(evaluated)
    assert manifest["outcome"]["metrics"] == read_json(taught)["outcome"]["best_metrics"]
    answers = json.loads((folder(evaluated) / "answers.json").read_text())
    every = [q for p in asked["data"][0]["paragraphs"] for q in p["qas"]]
    assert list(answers) == [question["id"] for question in every]
    exact = [
        answers[q["id"]] == (q["answers"][0]["text"] if q["answers"] else "") for q in every
    ]  # the synthetic texts have no articles, capitals or punctuation in their answers
    assert manifest["outcome"]["metrics"]["exact_match"]["value"] == sum(exact) / len(every)
    arrays = load_file(folder(evaluated) / "predictions.safetensors")
    assert arrays["scores"].shape == (48, 2)
    assert arrays["scores"][:, 0].tolist() == [float(x) for x in exact]
    assert manifest["effective"]["rows"]["eval_data"] == len(arrays["logits"]) > 48
    roles = {file["role"] for file in manifest["inputs"]["files"]}
    assert "questions" in roles


@pytest.mark.slow
@pytest.mark.parametrize("command", ["verify", "show"])
def test_an_evaluation_of_answers_can_be_checked_and_shown(runner, evaluated, command):
    code, out, err = runner.ask(command, evaluated)
    assert code == 0, out + err
    if command == "show":
        assert "exact_match" in out and "(Wilson)" in out


def test_answers_are_predicted_for_texts(runner, taught):
    context = "the cold stone house of the old town and the road"
    text = f"where ?\t{context}"
    code, out, err = runner.ask("predict", taught, "--text", text, "--format", "json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["answer"] in ("old", "old town", "town")  # right, or half of it
    assert answer["answer"] == context[answer["first"] : answer["end"]]
    code, out, _ = runner.ask("predict", taught, "--text", text)
    assert out.split("\t")[0] == answer["answer"]
    forced = ("--no-answer-threshold", "-1000", "--format", "json")
    code, out, _ = runner.ask("predict", taught, "--text", text, *forced)
    assert (json.loads(out)["answer"], json.loads(out)["end"]) == ("", 0)
    code, _, err = runner.ask("predict", taught, "--text", "no tab")
    assert (code, "a question and its context are needed" in err) == (2, True)


@pytest.mark.slow
def test_records_and_submissions_have_the_answers_of_the_evaluation(runner, taught, evaluated):
    known = json.loads((folder(evaluated) / "answers.json").read_text())
    code, out, err = runner.ask(
        "predict", taught, "--records", runner.root / "asked/dev", "--format", "json"
    )
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert {line["text"]: line["answer"] for line in found} == known
    code, out, err = runner.ask(
        *("predict", taught, "--submission", "SQuAD-2.0", "--test", runner.root / "dev.json"),
        *("--output", runner.root / "submitted"),
    )
    assert code == 0, err
    assert out.endswith("predictions.json: 48 predictions\n")
    assert json.loads((runner.root / "submitted/predictions.json").read_text()) == known


@pytest.mark.slow
def test_both_phases_distil_answers(runner, write_recipe, taught):
    link = LINKED | {
        'load_teacher_ckpt_path = { recipe = "recipes/tiny/tiny_finetune.toml" }': (
            f"load_teacher_ckpt_path = {{ manifest = {json.dumps(str(taught))} }}"
        ),
        'padding = "include"': 'padding = "ignore"',
        "hard_label_weight = 0.0": "hard_label_weight = 0.5",
    }
    recipe = write_recipe("answers_distil", "tiny_task_distill", link | TASK)
    plain = read_json(runner.run(recipe, "--fresh"))["outcome"]
    hard, soft = (plain["metrics"][f"phase2_{n}_loss"]["value"] for n in ("hard", "soft"))
    assert plain["metrics"]["phase2_loss"]["value"] == pytest.approx((hard + soft) / 2)
    for options in (PACKED, (*PACKED, "--set", "runtime.teacher_cache_gib=1.0")):
        other = read_json(runner.run(recipe, "--fresh", *options))["outcome"]
        value = other["metrics"]["phase2_loss"]["value"]
        assert value == pytest.approx(plain["metrics"]["phase2_loss"]["value"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "mindir", "huggingface"])
def test_a_network_of_answers_leaves(runner, taught, form):
    output = runner.root / f"answers_{form}"
    code, out, err = runner.ask("export", taught, "--format", form, "--output", output)
    assert code == 0, out + err
    if form == "huggingface":
        described = json.loads((output / "config.json").read_text())
        assert described["architectures"] == ["BertForQuestionAnswering"]
        assert described["tinybert"]["answers"]["max_answer_length"] == 3
        text = ("--text", "where ?\tthe cold stone house of the old town", "--format", "json")
        answers = [runner.ask("predict", each, *text)[1] for each in (taught, output)]
        assert answers[0] == answers[1] != ""


def test_what_does_not_go_with_answers_is_refused_by_name(runner, write_recipe, asked):
    dropped = {"drop_remainder = false": "drop_remainder = false\neval_drop_remainder = true"}
    recipe = write_recipe("answers_bad", "tiny_finetune", TASK | dropped)
    code, out, err = runner.ask("validate", recipe)
    assert code == 1
    said = "`eval_drop_remainder = true` would leave out parts of a question's context"
    assert said in out + err
    text = write_recipe("answers_glob", "tiny_finetune", TASK).read_text()
    (runner.root / "answers_glob.toml").write_text(text.replace("num_labels = 2", "num_labels = 3"))
    code, out, err = runner.ask("validate", runner.root / "answers_glob.toml")
    assert "question answering has two outputs, start and end, got `num_labels = 3`" in out + err
