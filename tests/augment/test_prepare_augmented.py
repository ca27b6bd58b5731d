"""The command `prepare augment`: what it makes, refuses, and does after a kill."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import runner
from tests.augment.conftest import CONFIG, ROWS, WORDS, arguments, save_network
from tests.conftest import ROOT
from tinybert.augment import parts
from tinybert.data.sidecar import load_sidecar
from tinybert.files import digest_file

PROGRAM = """
import runpy, sys
from tinybert.augment import parts
parts.PART_POSITIONS = 40
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program with parts of about one text."""


def run(words, *, kill=0, **variables):
    """Call the command line in a process of its own; returns exit code and standard error.

    It is killed when a temporary file in the folder of parts is opened, synced or renamed for the
    `kill`-th time.
    """
    program = [ROOT / "tools" / "kill_run.py", "parts", kill, 0, "--"]
    command = [sys.executable, "-c", PROGRAM, *map(str, program), *words]
    environment = {**os.environ, "NO_COLOR": "1", "GLOG_v": "3", **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def lines(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def replaced(table):
    """Return the words of originals and, by word, those that took its place."""
    originals = {line["row"]: line["text"].split() for line in table if line["sample"] == 0}
    found = {}
    for line in table:
        pairs = zip(originals[line["row"]], line["text"].split(), strict=True)
        for before, after in pairs:
            found.setdefault(before, set()).update({after} - {before})
    return found


def test_word_vectors_give_neighbours_for_all_words(augment, table, vectors, tmp_path):
    code, said = augment("--word-vectors", vectors, "--threshold", "1", "--candidates", "1")
    assert code == 0, said
    made = lines(tmp_path / "out")
    assert [(line["row"], line["sample"]) for line in made] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0),
    ]  # fmt: skip
    assert [line["text"] for line in made[1::2]] == [
        "movie film is very good", "a bad movie, not great.", "real!",
    ]  # fmt: skip
    assert [line["label"] for line in made] == ["1", "1", "0", "0", "1", "1", "1"]
    sidecar = load_sidecar(tmp_path / "out")
    assert sidecar.augmentation.model_dump() == {
        "table": "rows.jsonl",
        "one_piece_words": "word_vectors",
        "other_words": "word_vectors",
        "network_sha256": None,
        "word_vectors_sha256": digest_file(vectors).sha256,
        "kept_words_sha256": None,
        "context": None,
        "threshold": 1.0,
        "candidates": 1,
        "samples": 3,
        "seed": 1,
        "arithmetic": "portable",
    }
    assert sidecar.rows == 7
    counts = ("original_rows", "augmented_rows", "duplicate_rows", "words_without_candidates")
    assert [sidecar.counts[name] for name in counts] == [4, 3, 9, 10]
    assert list(sidecar.versions) == ["tokenizers"]
    assert not (tmp_path / "out.parts").exists()


def test_embeddings_give_neighbours_for_words_of_one_piece_alone(augment, network, tmp_path):
    vocab = network / "vocab.txt"
    code, said = augment("--embeddings", network, "--threshold", "1", vocab=vocab)
    assert code == 0, said
    found = replaced(lines(tmp_path / "out"))
    assert found["unreal!"] == set()
    assert len(found["movie"]) == 3
    sidecar = load_sidecar(tmp_path / "out")
    assert sidecar.augmentation.one_piece_words == "embeddings"
    assert sidecar.augmentation.other_words is None
    assert len(sidecar.augmentation.network_sha256) == 64


def test_records_are_those_of_the_table_prepared_by_itself(augment, vectors, tmp_path):
    assert augment("--word-vectors", vectors)[0] == 0
    words = arguments(tmp_path / "out" / "rows.jsonl", tmp_path / "vocab.txt", output="again")
    words = [word for word in words if word not in ("augment", "--samples", "3")]
    words[words.index("t")], words[words.index("l")] = "text", "label"
    code, said = run(words)
    assert code == 0, said
    made, again = tmp_path / "out", tmp_path / "out" / "again"
    assert files(again)["records-00000.tfrecord"] == (made / "records-00000.tfrecord").read_bytes()


def test_a_changed_table_of_rows_is_noticed(augment, vectors, tmp_path):
    assert augment("--word-vectors", vectors)[0] == 0
    names = [file.name for file in load_sidecar(tmp_path / "out").files]
    assert names == ["records-00000.tfrecord", "schema.json", "rows.jsonl"]


def test_the_seed_changes_rows_and_nothing_else_does(augment, vectors, table, tmp_path):
    for output, more in (("a", ()), ("b", ()), ("c", ("--seed", "2"))):
        assert augment("--word-vectors", vectors, *more, output=output)[0] == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert lines(tmp_path / "a") != lines(tmp_path / "c")


def test_kept_words_stay(augment, network, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("the\nis\n")
    more = ("--embeddings", network, "--keep-words", kept, "--threshold", "1")
    assert augment(*more, vocab=network / "vocab.txt")[0] == 0
    found = replaced(lines(tmp_path / "out"))
    assert found["the"] == found["is"] == set() != found["very"]


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        (
            (),
            "nothing gives candidates for words\nhelp: name a network with the head of masked "
            "language modelling, --masked-lm SOURCE, word vectors, --word-vectors FILE, or both; "
            "where neither is at hand, any encoder: --embeddings SOURCE",
        ),
        (
            ("--masked-lm", "a", "--embeddings", "b"),
            "two networks give candidates for words of one piece\n"
            "help: name one: --masked-lm, or --embeddings",
        ),
        (
            ("--embeddings", "BERT", "--context", "text_and_original"),
            "--context is for --masked-lm: nothing else reads more than a word",
        ),
        (
            ("--embeddings", "BERT", "--threshold", "0"),
            "--threshold is a probability above 0, not 0.0",
        ),
        (
            ("--embeddings", "BERT", "--threshold", "nan"),
            "--threshold is a probability above 0, not nan",
        ),
        (
            ("--embeddings", "BERT", "--candidates", "0"),
            "--candidates and --samples are at least 1",
        ),
        (
            ("--embeddings", "BERT", "--text-pair", "u"),
            "column `u` is missing; found: `t`, `l`\n  --> DIR/raw.tsv:1\n"
            "help: name existing columns; for a test set: --unlabelled, or no --label",
        ),
        (
            ("--masked-lm", "HEADLESS"),
            "the network has no head of masked language modelling\n"
            "  --> DIR/headless/model.safetensors\n"
            "help: name one that was saved with it, such as a BertForMaskedLM; or take the nearest "
            "of its word embeddings: --embeddings SOURCE",
        ),
        (
            ("--embeddings", "OTHER"),
            "the vocabulary is not the network's\n  --> DIR/bert/vocab.txt\n"
            "help: name the one that is kept with the network: --vocab DIR/other/vocab.txt",
        ),
        (
            ("--embeddings", "SMALL"),
            "the vocabulary has 29 tokens, the network 9\n  --> DIR/bert/vocab.txt\n"
            "help: name the network's vocabulary: --vocab",
        ),
        (
            ("--embeddings", "CASED"),
            "the network reads texts with --cased, not with --lowercase\n"
            "  --> DIR/cased/model.safetensors\n"
            "help: prepare the records in the same way: --cased",
        ),
        (("--word-vectors", "none"), "cannot be read: No such file or directory\n  --> none"),
        (("--keep-words", "none", "--embeddings", "BERT"),
         "cannot be read: No such file or directory\n  --> none"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_one_message(augment, network, tmp_path, more, answer):
    save_network(tmp_path / "headless", head=False)
    save_network(tmp_path / "other", words=[*WORDS[:-1], "y"])
    small = save_network(tmp_path / "small", CONFIG.__class__(**{**CONFIG.__dict__,
                                                                 "vocab_size": 9}))  # fmt: skip
    (small / "vocab.txt").unlink()
    cased = save_network(tmp_path / "cased")
    (cased / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    places = {name.upper(): tmp_path / name for name in ("bert", "headless", "other", "small")}
    places["CASED"] = cased
    words = [places.get(word, word) for word in more]
    code, said = augment(*words, vocab=network / "vocab.txt")
    assert (code, said) == (2, f"error: {answer}\n")
    assert not (tmp_path / "out").exists()


def test_rows_of_several_labels_keep_them(augment, vectors, tmp_path):
    raw = tmp_path / "several.jsonl"
    raw.write_text('{"t": "movie", "l": ["b", "a"]}\n{"t": "film", "l": ["b"]}\n')
    more = ("--label-kind", "classes", "--word-vectors", vectors, "--threshold", "1")
    code, said = augment(*more, table=raw)
    assert code == 0, said
    assert {str(line["label"]) for line in lines(tmp_path / "out")} == {"['a', 'b']", "['b']"}


def test_an_empty_text_is_an_error_before_any_work(augment, vectors, table):
    table.write_text("t\tl\na film\t1\n\t0\n")
    code, said = augment("--word-vectors", vectors)
    assert (code, said) == (2, "error: a text is empty, or has no tokens\n  --> DIR/raw.tsv:3\n")


def test_the_number_of_samples_is_known_of_published_tasks_alone(table, vocab, capsys):
    words = [word for word in arguments(table, vocab) if word not in ("--samples", "3")]
    assert runner.main(words) == 2
    assert capsys.readouterr().err == (
        "error: it is not known how many rows are to be made of each\nhelp: say so: --samples N\n"
    )


def test_an_output_that_exists_is_replaced_by_force_alone(augment, vectors, tmp_path):
    assert augment("--word-vectors", vectors)[0] == 0
    made = files(tmp_path / "out")
    code, said = augment("--word-vectors", vectors, "--seed", "2")
    assert (code, said.splitlines()[0]) == (2, "error: the output exists")
    assert files(tmp_path / "out") == made
    assert augment("--word-vectors", vectors, "--seed", "2", "--force")[0] == 0
    assert files(tmp_path / "out") != made


def test_unfinished_work_of_other_arguments_is_named(augment, vectors, tmp_path, monkeypatch):
    begun = parts.CandidateParts.begin

    def stop(self, *arguments, **options):
        begun(self, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(parts.CandidateParts, "begin", stop)
    assert augment("--word-vectors", vectors)[0] == 130
    monkeypatch.undo()
    vectors.write_text(vectors.read_text().replace("film 0 2", "film 0 3"))
    code, said = augment("--word-vectors", vectors, "--candidates", "7")
    assert (code, said) == (
        2,
        "error: the folder has unfinished work with other arguments:\n"
        "  - `word_vectors_sha256` is another\n"
        "  - `candidates` was 15, and is 7\n"
        "  --> DIR/out.parts\n"
        "help: go on with its arguments, name another output, or begin anew with --force\n",
    )
    assert augment("--word-vectors", vectors, "--candidates", "7", "--force")[0] == 0
    assert not (tmp_path / "out.parts").exists()


def test_a_folder_of_others_is_not_replaced(augment, vectors, tmp_path):
    (tmp_path / "out.parts").mkdir()
    (tmp_path / "out.parts" / "mine").write_text("")
    code, said = augment("--word-vectors", vectors, "--force")
    assert (code, said.splitlines()[0]) == (
        2,
        "error: the folder for unfinished work holds no arguments.json, and is not replaced",
    )
    assert (tmp_path / "out.parts" / "mine").exists()


def test_parts_give_what_the_whole_gives(augment, network, table, tmp_path, monkeypatch):
    vocab = network / "vocab.txt"
    assert augment("--embeddings", network, vocab=vocab, output="whole")[0] == 0
    monkeypatch.setattr(parts, "PART_POSITIONS", 1)
    monkeypatch.setattr(parts.CandidateParts, "remove", lambda self: None)
    assert augment("--embeddings", network, vocab=vocab, output="parts")[0] == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    shapes = [np.load(path).shape for path in sorted((tmp_path / "parts.parts").glob("*.npy"))]
    assert shapes == [(5, 15), (5, 15), (1, 15), (3, 15)]


def test_a_damaged_part_is_named(augment, network, table, tmp_path, monkeypatch):
    vocab = network / "vocab.txt"
    monkeypatch.setattr(parts.CandidateParts, "remove", lambda self: None)
    assert augment("--embeddings", network, vocab=vocab)[0] == 0
    part = tmp_path / "out.parts" / "candidates-00000.npy"
    part.write_bytes(part.read_bytes()[:-1])
    code, said = augment("--embeddings", network, "--force", vocab=vocab)
    assert code == 2
    assert said.splitlines()[-2:] == [
        "  --> DIR/out.parts/candidates-00000.npy",
        "help: remove the file, and give the same command again",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("context", "kill"), [("text", 20), ("text_and_original", 8)])
def test_a_killed_augmentation_goes_on_to_the_same_bytes(table, network, tmp_path, context, kill):
    texts = [" ".join([text, *"very " * number]) for number in range(3) for text, _ in ROWS]
    table.write_text("t\tl\n" + "".join(f"{text}\t{n % 2}\n" for n, text in enumerate(texts)))
    vocab = network / "vocab.txt"
    more = ("--masked-lm", network, "--word-vectors", tmp_path / "vectors", "--context", context)
    (tmp_path / "vectors").write_text("unreal 1 0\nreal 1 1\n")
    code, said = run(arguments(table, vocab, *more, output="straight"))
    assert code == 0, said
    words = arguments(table, vocab, *more)
    code, said = run(words, kill=kill)  # the arguments have three moments, and so has each part
    assert code == -9, said
    left = sorted(path.name for path in (tmp_path / "out.parts").glob("candidates-*"))
    assert left == [f"candidates-{part:05d}.npy" for part in range(kill // 3 - 1)]
    (tmp_path / ".out.0123.tmp").mkdir()  # what a kill while records are written leaves
    code, said = run(words)
    assert code == 0, said
    assert "going on after " in said
    assert files(tmp_path / "out") == files(tmp_path / "straight")
    assert load_sidecar(tmp_path / "out").augmentation.context == context
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out"]
    found = replaced(lines(tmp_path / "out"))
    assert found["unreal!"] == {"real!"}
    assert found["movie"]
