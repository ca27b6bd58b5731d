"""Stand-ins for what shipped recipes need: raw files in the form of each task's own, and runs."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.conftest import ROOT
from tinybert.manifest.checkpoints import tensor_table
from tinybert.manifest.document import read_manifest
from tinybert.manifest.identity import code_identity
from tinybert.manifest.model import Inputs, Parent
from tinybert.manifest.record import RunRecord
from tinybert.model.checkpoint_files import encode_ckpt
from tinybert.model.parameters import encoder_shapes, head_shapes
from tinybert.plan.compatibility import roles_with_trained_heads
from tinybert.recipe.load import load
from tinybert.recipe.network import head, network
from tinybert.run.resume import recipe_facts

ROWS = 1024
TSV = {
    "SST-2": ("sentence\tlabel", 'a "bad film\t0'),
    "QNLI": ("index\tquestion\tsentence\tlabel", '0\twho?\ta "man\tnot_entailment'),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        '0\t3\t3n\tfiction\t( a )\t( b )\t(A)\t(B)\tone "man\tno man\tneutral\tneutral',
    ),
    "MRPC": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", '1\t7\t8\the "said\the says'),
    "CoLA": ("gj04\t1\t\tthey sing", 'gj04\t0\t*\tsing "they'),
    "RTE": ("index\tsentence1\tsentence2\tlabel", '0\ta "city\ta town\tentailment'),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        '0\tnews\tf\t2012\t1\tnone\tnone\ta "plane\ta bird\t3.800',
    ),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", '0\t1\t2\twhy?\twhy "not?\t0'),
}
"""First line, and a row, by task."""
TNEWS = {"label": "108", "label_desc": "news_edu", "sentence": "上课时学生手机响", "keywords": ""}
CLUENER = {"text": "浙商银行的叶老桂", "label": {"company": {"浙商银行": [[0, 3]]}}}


def prepare_commands(text):
    """Return the arguments of each `runner.py prepare` in a recipe's opening comment."""
    head = "".join(line[1:] + "\n" for line in text.split("\n\n")[0].splitlines())
    whole = re.sub(r"\\\n\s*", "", head)
    return [
        tuple(shlex.split(line)[2:])
        for line in whole.splitlines()
        if line.strip().startswith("python runner.py prepare ")
    ]


def option(command, name):
    return command[command.index(name) + 1]


def write_raw(command):
    """Write what a command reads, a file and a vocabulary, below the current directory."""
    what, *rest = command[1:]
    first, row = "", "a " * 126
    if what == "ner":
        row = json.dumps(CLUENER)
    elif what == "glue":
        first, row = TSV.get(rest.pop(0), ("", json.dumps(TNEWS)))
    source = Path(rest[0])
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    for path, lines in (
        (source if source.suffix else source / "wiki_00", [first] * bool(first) + [row] * ROWS),
        (Path(option(command, "--vocab")), tokens),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


def stand_in_weights(recipe, role):
    """Return zeros for all that a recipe's network takes from a checkpoint."""
    config = network(recipe, role)
    shapes = encoder_shapes(config)
    if recipe.stage != "general_distill" and role in roles_with_trained_heads(recipe):
        shapes |= head_shapes(config, head(recipe, role))
    return {f"{role}.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}


def stand_in_checkpoint(path, arrays):
    """Write a checkpoint of the kind that a path names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ckpt":
        path.write_bytes(b"".join(encode_ckpt(arrays)))
    else:
        path.mkdir()
        save_file(arrays, path / "model.safetensors")


@cache
def program_code():
    """Return what the program is; no test changes it."""
    code, _ = code_identity(ROOT)
    return code


def stand_in_run(root, recipe, files=(), weights=None, parents=(), overrides=(), device=None):
    """Leave a finished manifest of a recipe that read some files, with one checkpoint; its path.

    `parents` are manifests, by the roles of the networks that were taken from their runs.
    """
    resolved = load(recipe, overrides, device)
    inputs = Inputs(
        stage=resolved.recipe.stage,
        recipe=recipe_facts(resolved),
        code=program_code(),
        files=list(files),
        parents=[
            Parent(
                role=role,
                manifest=str(path.relative_to(root)),
                stage=read_manifest(path).inputs.stage,
                outcome_digest=read_manifest(path).digests.outcome,
            )
            for role, path in dict(parents).items()
        ],
    )
    with RunRecord.plan(root, inputs) as record:
        checkpoint = record.directory / "checkpoints" / "step-00000001.safetensors"
        checkpoint.parent.mkdir()
        save_file(weights or {}, checkpoint)
        record.checkpoint(1, checkpoint, tensor_table(weights or {}))
        record.finish()
    return record.path
