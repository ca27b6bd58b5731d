"""Fine-tuning, both phases of a task distillation, and evaluation, as their users run them."""

import json
import shutil

import pytest
from safetensors.numpy import load_file

from tests.conftest import ROOT, SHIPPED, folder, read_json

SHORT = {"epoch_size = 4": "epoch_size = 1"}
LINKED = {
    "epoch_size = 2": "epoch_size = 1",
    'load_student_ckpt_path = { recipe = "recipes/tiny.toml" }': 'init = "seeded"',
}


SUNK = ("--set", "runtime.enable_data_sink=true", "--set", "runtime.data_sink_steps=11")
SUNK += ("--set", "phase1.checkpoints.save_ckpt_step=22", "--set", 'runtime.dropout_masks="graph"')


PACKED = ("--set", 'data.packing="blocks"', "--set", "data.block_length=64")


@pytest.fixture(scope="module")
def finetuned(runner, write_recipe):
    return runner.run(write_recipe("teach", "tiny_finetune", SHORT), "--fresh")


@pytest.fixture(scope="module")
def distill_changes(runner):
    teacher = {'"recipes/tiny/tiny_finetune.toml"': json.dumps(str(runner.root / "teach.toml"))}
    return LINKED | teacher


@pytest.fixture(scope="module")
def distilled(runner, write_recipe, finetuned, distill_changes):
    recipe = write_recipe("distil", "tiny_task_distill", distill_changes)
    return runner.run(recipe, "--fresh")


@pytest.fixture(scope="module")
def evaluated(runner, write_recipe, distilled):
    link = {'"recipes/tiny/tiny_task_distill.toml"': json.dumps(str(runner.root / "distil.toml"))}
    return runner.run(write_recipe("measure", "tiny_evaluate", link), "--fresh")


def test_a_fine_tuning_says_what_ran(finetuned):
    manifest = read_json(finetuned)
    outcome, effective = manifest["outcome"], manifest["effective"]
    assert (outcome["steps"], outcome["samples"]) == (22, 350)  # the last batch has 14 rows
    assert effective["rows"] == {"data": 350, "eval_data": 59}
    assert effective["matrix_products"] == {"teacher": {"Float32": 42}}  # 14 and their gradients
    undecayed = effective["optimizer"]["decay_groups"]["0.0"]
    assert "teacher.classifier.bias" in undecayed
    assert "teacher.classifier.weight" in effective["optimizer"]["decay_groups"]["0.0001"]
    assert set(outcome["metrics"]) == {
        *("loss", "mean_loss", "accuracy", "mf1", "matthews", "bf1"),
    }


def test_the_best_checkpoint_holds_weights_and_labels(finetuned):
    best = read_json(finetuned)["outcome"]["best_checkpoint"]
    assert best["file"] == "checkpoints/best.safetensors"
    arrays = load_file(folder(finetuned) / best["file"])
    assert {name.split(".")[0] for name in arrays} == {"teacher"}
    assert arrays["teacher.classifier.weight"].shape == (2, 16)


def test_phases_share_one_trace_and_have_facts_of_their_own(distilled):
    manifest = read_json(distilled)
    outcome, effective = manifest["outcome"], manifest["effective"]
    lines = (folder(distilled) / "trace.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["global_step"] for record in records] == list(range(44))
    assert set(records[21]["parts"]) == {"attention_loss", "hidden_loss"}
    assert set(records[22]["parts"]) == {"soft_loss", "hard_loss"}
    assert [kept["file"] for kept in outcome["checkpoints"]] == [
        "checkpoints/phase1/step-00000022.safetensors",
        "checkpoints/phase2/step-00000022.safetensors",
    ]
    phases = effective["phases"]
    assert (phases["phase1"]["warmup_steps"], phases["phase2"]["warmup_steps"]) == (2, 2)
    assert phases["phase1"]["graph_digest"] != phases["phase2"]["graph_digest"]
    trained = [
        {n for group in phases[p]["optimizer"]["decay_groups"].values() for n in group}
        for p in ("phase1", "phase2")
    ]
    assert "fit_dense.weight" in trained[0] - trained[1]
    assert {"student.pooler.dense.weight", "student.classifier.weight"} <= trained[1] - trained[0]
    assert outcome["best_step"] in (33, 44)
    assert {"phase1_loss", "phase2_mean_soft_loss", "accuracy"} < set(outcome["metrics"])


def test_phase_2_begins_with_the_result_of_phase_1(distilled):
    arrays = load_file(folder(distilled) / "checkpoints" / "phase1" / "step-00000022.safetensors")
    assert "fit_dense.weight" in arrays
    assert "student.classifier.weight" not in arrays
    phases = read_json(distilled)["effective"]["phases"]
    first, second = (phases[p]["initial_weights"] for p in ("phase1", "phase2"))
    assert first["student"] != second["student"]


def test_an_evaluation_repeats_the_metrics_of_the_best_checkpoint(distilled, evaluated):
    assert (
        read_json(evaluated)["outcome"]["metrics"]
        == read_json(distilled)["outcome"]["best_metrics"]
    )


def test_predictions_are_kept_for_people_and_for_comparison(evaluated):
    manifest = read_json(evaluated)
    lines = (folder(evaluated) / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["row"] for row in rows] == list(range(59))
    assert {row["label"] for row in rows} == {"indoors", "outdoors"}
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert manifest["outcome"]["metrics"]["accuracy"]["value"] == right / 59
    (kept,) = manifest["outcome"]["checkpoints"]
    arrays = load_file(folder(evaluated) / kept["file"])
    assert [float.fromhex(x) for x in rows[7]["logits"]] == arrays["logits"][7].tolist()
    assert manifest["outcome"]["steps"] == 0
    assert manifest["volatile"]["throughput"] == {}  # rather than 0 samples a second
    assert len(manifest["effective"]["graph_digest"]) == 64


def test_the_chain_is_one_lineage(runner, evaluated):
    code, out, _ = runner.ask("lineage", evaluated)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()][1:] == ["student:", "teacher:"]


def test_a_teacher_of_another_label_order_is_refused(
    runner, write_recipe, finetuned, distill_changes
):
    for part in ("train", "dev"):
        code, _, err = runner.ask(
            *("prepare", "table", ROOT / f"recipes/tiny/places/{part}.tsv", "--text", "sentence"),
            *("--label", "label", "--labels", "outdoors", "indoors", "--lowercase"),
            *("--vocab", ROOT / "recipes/tiny/vocab.txt", "--seq-length", "32"),
            *("--output", runner.root / "turned" / part),
        )
        assert code == 0, err
    changes = distill_changes | {"recipes/tiny/places": "turned"}
    recipe = write_recipe("turned", "tiny_task_distill", changes)
    code, out, err = runner.ask(recipe, "--root", runner.root)
    best = folder(finetuned) / "checkpoints" / "best.safetensors"
    assert (code, out) == (4, "")
    assert err == (
        "error: the labels are `indoors`, `outdoors`; those of the records are `outdoors`, "
        f"`indoors`\n  --> {best}\n"
        "help: let both have one order: prepare the records anew with --labels or --labels-from, "
        "for `prepare glue` with --label-names; or say in [task] what the records' labels are "
        'called: label_names = { records_name = "name" }\n'
    )


@pytest.mark.slow
def test_phase_2_alone_gives_the_bits_of_phase_2_after_phase_1(
    runner, write_recipe, distilled, distill_changes
):
    path = write_recipe("alone", "tiny_task_distill", distill_changes)
    text = path.read_text()
    head, _, rest = text.partition("[phase1]")
    only_first = head + "[phase1]" + rest.partition("[phase2]")[0]
    machine = "[topology]" + rest.partition("[topology]")[2]
    first = runner.root / "first.toml"
    first.write_text(only_first + machine)
    runner.run(first, "--fresh")
    second = runner.root / "second.toml"
    link = f"load_student_ckpt_path = {{ recipe = {json.dumps(str(first))} }}"
    started = head.replace('[student]\ninit = "seeded"', f"[student]\n{link}")
    assert started != head
    second.write_text(started + "[phase2]" + rest.partition("[phase2]")[2])
    alone = read_json(runner.run(second, "--fresh"))["outcome"]
    both = read_json(distilled)["outcome"]
    assert alone["best_step"] + 22 == both["best_step"]
    assert alone["metrics"]["accuracy"] == both["metrics"]["accuracy"]
    for kind in ("phase2_loss", "phase2_mean_hard_loss"):
        assert alone["metrics"][kind] == both["metrics"][kind]
    digests = [run["checkpoints"][-1]["tensor_digest"] for run in (alone, both)]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_two_runs_are_bitwise_equal(runner, distilled):
    again = runner.run(runner.root / "distil.toml", "--fresh")
    code, out, _ = runner.ask("diff", distilled, again)
    assert (code, out.splitlines()[0]) == (0, "bitwise: the outcomes are equal")


def other_task(text, task_type, labels, method):
    changes = {
        'task_type = "classification"': f'task_type = "{task_type}"',
        "num_labels = 2": f"num_labels = {labels}",
        'assessment_method = "accuracy"': f'assessment_method = "{method}"',
        "recipes/tiny/places": task_type,
        'padding = "include"': 'padding = "ignore"',
        'fit_dense = "shared"': 'fit_dense = "per_layer"',
        "hard_label_weight = 0.0": "hard_label_weight = 0.5",
    }
    return {old: new for old, new in changes.items() if old in text}


@pytest.fixture(scope="module")
def prepare(runner):
    """Make records of numbers, or of tags, from the tiny sentences."""

    def make(task_type):
        common = ("--lowercase", "--vocab", ROOT / "recipes/tiny/vocab.txt", "--seq-length", "32")
        for part in ("train", "dev"):
            rows = (ROOT / f"recipes/tiny/places/{part}.tsv").read_text().splitlines()[1:]
            sentences = [row.split("\t")[0] for row in rows]
            source = runner.root / f"{task_type}-{part}.txt"
            if task_type == "regression":
                lines = ["text\tscore", *(f"{s}\t{len(s) / 40}" for s in sentences)]
                kind = ("table", source, "--text", "text", "--label", "score", "--label-kind")
                kind += ("number", "--input-format", "tsv")
            elif task_type == "multi_label_classification":
                marks = {"a": "the", "b": "of", "c": "river"}
                sets = ([m for m, w in marks.items() if w in s.split()] for s in sentences)
                lines = [
                    "text\tlabels",
                    *(f"{s}\t{' '.join(x)}" for s, x in zip(sentences, sets, strict=True)),
                ]
                kind = ("table", source, "--text", "text", "--label", "labels", "--label-kind")
                kind += ("classes", "--label-separator", " ", "--input-format", "tsv")
                kind += ("--labels", *marks)
            else:
                lines = []
                for sentence in sentences:
                    words = sentence.split()
                    lines += [f"{w} {'B-LONG' if len(w) > 6 else 'O'}" for w in words] + [""]
                kind = ("ner", source, "--input-format", "conll", "--labels", "O", "B-LONG")
            source.write_text("\n".join(lines) + "\n")
            output = runner.root / task_type / part
            shutil.rmtree(output, ignore_errors=True)
            code, _, err = runner.ask("prepare", *kind, *common, "--output", output)
            assert code == 0, err

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task_type", "labels", "method", "metrics"),
    [
        ("regression", 1, "pearson", {"pearson", "spearman"}),
        ("multi_label_classification", 3, "micro_f1", {"exact_match", "micro_f1", "mf1"}),
        ("ner", 2, "entity_f1", {"accuracy", "mf1", "entity_precision", "entity_f1"}),
    ],
)
def test_numbers_and_tags_go_through_all_stages(
    runner, write_recipe, prepare, task_type, labels, method, metrics
):
    prepare(task_type)
    tasks = {
        n: other_task(SHIPPED[f"tiny_{n}"].read_text(), task_type, labels, method)
        for n in ("finetune", "task_distill", "evaluate")
    }
    name = f"{task_type}_teach"
    taught = write_recipe(name, "tiny_finetune", SHORT | tasks["finetune"])
    runner.run(taught, "--fresh")
    link = LINKED | {'"recipes/tiny/tiny_finetune.toml"': json.dumps(str(taught))}
    saved = {"save_ckpt_step = 20": "save_ckpt_step = 22"}  # as SUNK: a trace has what is saved
    changes = link | saved | tasks["task_distill"]
    distil = write_recipe(f"{task_type}_distil", "tiny_task_distill", changes)
    distilled = read_json(runner.run(distil, "--fresh"))["outcome"]
    cached = read_json(
        runner.run(distil, "--fresh", "--set", "runtime.teacher_cache_gib=1.0", *PACKED)
    )
    assert cached["effective"]["phases"]["phase2"]["teacher_cache"]["unused"] is None
    close = cached["outcome"]["metrics"]["phase2_loss"]["value"]
    assert close == pytest.approx(distilled["metrics"]["phase2_loss"]["value"], rel=1e-3)
    link = {'"recipes/tiny/tiny_task_distill.toml"': json.dumps(str(distil))}
    measure = write_recipe(f"{task_type}_measure", "tiny_evaluate", link | tasks["evaluate"])
    manifest = runner.run(measure, "--fresh")
    evaluated = read_json(manifest)["outcome"]
    for command in ("verify", "show"):
        code, out, err = runner.ask(command, manifest)
        assert code == 0, out + err
    assert metrics <= set(evaluated["metrics"])
    assert evaluated["metrics"] == distilled["best_metrics"]
    hard, soft = (distilled["metrics"][f"phase2_{n}_loss"]["value"] for n in ("hard", "soft"))
    assert distilled["metrics"]["phase2_loss"]["value"] == pytest.approx((hard + soft) / 2)
    again = read_json(runner.run(distil, "--fresh", *SUNK))["outcome"]
    for fact in ("trace_digest", "metrics", "best_checkpoint"):
        assert again[fact] == distilled[fact]


def check_near(first, second):
    """Two runs on the same rows end in the same up to rounding."""
    first, second = read_json(first)["outcome"], read_json(second)["outcome"]
    assert (first["steps"], first["samples"]) == (second["steps"], second["samples"])
    assert first["metrics"].keys() == second["metrics"].keys()
    for metric, value in first["metrics"].items():
        assert second["metrics"][metric]["value"] == pytest.approx(value["value"], rel=1e-4)


def test_packed_rows_train_as_padded_rows_do(runner, finetuned):
    packed = runner.run(runner.root / "teach.toml", "--fresh", *PACKED)
    check_near(finetuned, packed)
    facts = read_json(packed)["effective"]["packing"]
    assert facts["block_length"] == 64
    assert facts["block_counts"][-1] * 64 < 16 * 32
    assert 0.7 < facts["fill"] < 1
    code, out, err = runner.ask("verify", packed)
    assert code == 0, out + err
    traces = (folder(path) / "trace.jsonl" for path in (finetuned, packed))
    for lines in zip(*(trace.read_text().splitlines() for trace in traces), strict=True):
        padded, ours = map(json.loads, lines)
        assert padded["batch_digest"] == ours["batch_digest"]
        assert float.fromhex(ours["loss"]) == pytest.approx(float.fromhex(padded["loss"]), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["distilled", "evaluated"])
def test_every_stage_packs(request, runner, name):
    padded = request.getfixturevalue(name)
    ignored = ("--set", 'phase1.distill.padding="ignore"') if name == "distilled" else ()
    recipe = read_json(padded)["inputs"]["recipe"]["path"]
    packed = runner.run(recipe, "--fresh", *PACKED, *ignored)
    if ignored:
        padded = runner.run(recipe, "--fresh", *ignored)
    check_near(padded, packed)
    code, out, err = runner.ask("verify", packed)
    assert code == 0, out + err


@pytest.mark.slow
def test_general_distillation_packs_what_it_trains_on_and_what_is_held_out(runner, write_recipe):
    changes = {
        'padding = "include"': 'padding = "ignore"',
        "train_steps = 48": "train_steps = 12",
        "schema_dir =": 'eval_data_dir = "recipes/tiny/records/*.tfrecord"\nschema_dir =',
    }
    recipe = write_recipe("general", "tiny", changes)
    padded, packed = (runner.run(recipe, "--fresh", *options) for options in ((), PACKED))
    check_near(padded, packed)
    assert "eval_attention_loss" in read_json(packed)["outcome"]["metrics"]


@pytest.mark.slow
def test_packed_steps_of_one_call_have_the_bits_of_single_steps(runner, finetuned):
    one, several = (
        read_json(runner.run(runner.root / "teach.toml", "--fresh", *PACKED, *sunk))["outcome"]
        for sunk in ((), (*SUNK[:4], *SUNK[6:]))
    )
    for fact in ("trace_digest", "metrics", "best_checkpoint"):
        assert one[fact] == several[fact]


@pytest.mark.slow
def test_two_processes_pack_what_one_packs(runner, finetuned):
    recipe = runner.root / "teach.toml"
    one = runner.run(recipe, "--fresh", *PACKED)
    two = runner.run(recipe, "--fresh", *PACKED, "--set", "topology.devices_per_host=2")
    code, out, _ = runner.ask("diff", "--across-topology", one, two)
    assert code == 0, out
    check_near(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetuned", "distilled", "evaluated"])
def test_two_processes_do_what_one_does(request, runner, name):
    """The last batch of an epoch and of the dev set is short."""
    one = request.getfixturevalue(name)
    recipe = read_json(one)["inputs"]["recipe"]["path"]
    two = runner.run(recipe, "--fresh", "--set", "topology.devices_per_host=2")
    code, out, _ = runner.ask("diff", "--across-topology", one, two)
    assert code == 0, out
    first, second = (read_json(path)["outcome"] for path in (one, two))
    assert first["metrics"]["accuracy"] == second["metrics"]["accuracy"]
    assert first["best_step"] == second["best_step"]
    for metric, value in first["metrics"].items():
        assert second["metrics"][metric]["value"] == pytest.approx(value["value"], rel=1e-5)
