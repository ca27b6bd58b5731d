import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinybert.compare.tensors import network_order
from tinybert.compare.verdict import compare_pair
from tinybert.manifest.document import Run


def test_tensors_of_a_checkpoint_that_was_changed_are_not_measured(pretend: Any) -> None:
    a, b = (Run.load(run.run()) for run in (pretend("a"), pretend("b", noise=1e-3)))
    measured = compare_pair(a, b).tensor
    assert measured is not None and measured.absolute is not None
    file = Path("checkpoints", f"step-{measured.step:08d}.safetensors")
    shutil.copy(a.folder / file, b.folder / file)
    assert compare_pair(a, b).tensor == replace(measured, absolute=None, relative=None)


def test_network_order() -> None:
    names = [
        "student.embeddings.word_embeddings.weight",
        "student.embeddings.position_embeddings.weight",
        "student.embeddings.LayerNorm.weight",
        "student.encoder.layer.0.attention.self.query.weight",
        "student.encoder.layer.0.attention.self.value.weight",
        "student.encoder.layer.0.attention.output.dense.weight",
        "student.encoder.layer.0.attention.output.LayerNorm.bias",
        "student.encoder.layer.0.intermediate.dense.weight",
        "student.encoder.layer.0.output.dense.weight",
        "student.encoder.layer.2.attention.self.query.weight",
        "student.encoder.layer.10.attention.self.query.weight",
        "student.pooler.dense.weight",
        "student.classifier.weight",
        "fit_dense.weight",
        "global_step",
        "moment1.student.embeddings.word_embeddings.weight",
    ]
    assert sorted(names, key=network_order)[:14] == names[:14]
    assert set(sorted(names, key=network_order)[14:]) == set(names[14:])
    seed = [
        "bert_embedding_lookup.embedding_table",
        "bert_encoder.layers.2.intermediate.weight",
        "bert_encoder.layers.11.intermediate.weight",
        "dense.weight",
        "dense_1.weight",
        "fit_dense.weight",
    ]
    assert sorted(reversed(seed), key=network_order) == seed
