"""What benchmarks read: records of SST-2 and a pretrained encoder, made ready once in a folder."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, command

SEQ_LENGTH = 64
"""That of the original TinyBERT for SST-2."""
SST2 = ("glue", "SST-2")
"""The kind of `prepare` for its files."""


@dataclass(frozen=True)
class Material:
    """Files of a comparison."""

    encoder: Path
    """A BERT encoder of 6 layers of width 384 in Hugging Face's files."""
    texts: Path
    """`train.tsv` of SST-2, or its first rows."""
    records: Path
    """The same, prepared."""
    work: Path
    """Folder for what the program keeps."""

    @property
    def changes(self) -> dict[str, object]:
        """Return the values of a recipe that name the records."""
        schema = str(self.records / "schema.json")
        return {
            "data.train_data_dir": str(self.records),
            "data.schema_dir": schema,
            "data.eval_data_dir": str(self.records),
            "data.eval_schema_dir": schema,
            "data.seq_length": SEQ_LENGTH,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the material comes from and goes to."""
    parser.add_argument("--encoder", type=Path, required=True, help="files of MiniLM, 6 x 384")
    parser.add_argument("--sst2", type=Path, required=True, help="train.tsv of SST-2")
    parser.add_argument("--work", type=Path, required=True, help="folder for prepared records")


def prepare_command(
    encoder: Path, source: Path, records: Path, *, what: Sequence[str], seq_length: int = SEQ_LENGTH
) -> list[str]:
    """Return the command that prepares texts for an encoder.

    Args:
        encoder: Has the vocabulary.
        source: The file of the texts.
        records: Where the records go.
        what: The kind of `prepare`, and its own options.
        seq_length: Tokens a row.
    """
    program = [sys.executable, str(ROOT / "runner.py"), "prepare", *what, str(source)]
    vocab = ["--vocab", str(encoder / "vocab.txt"), "--lowercase"]
    return [*program, *vocab, "--seq-length", str(seq_length), "--output", str(records)]


def material(arguments: argparse.Namespace, rows: int) -> Material:
    """Return the first rows of SST-2, prepared; they stay in the work folder."""
    encoder, work = arguments.encoder.resolve(), arguments.work.resolve()
    folder = work / f"sst2_{rows}"
    texts, records = folder / "train.tsv", folder / "records"
    if not (records / "records.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with arguments.sst2.open(encoding="utf-8") as lines:
            texts.write_text("".join(line for _, line in zip(range(rows + 1), lines, strict=False)))
        command(prepare_command(encoder, texts, records, what=SST2))
    return Material(encoder, texts, records, work)


def classifier(given: Material) -> Path:
    """Return the encoder with a head of two classes, of first weights, in Hugging Face's files."""
    from transformers import AutoModelForSequenceClassification

    def build() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(given.encoder, num_labels=2)

    return _saved(given, "classifier", build)


def student(given: Material) -> Path:
    """Return an encoder of 3 layers of width 312, of first weights, in Hugging Face's files."""
    from transformers import AutoModel, BertConfig

    sizes = {"num_hidden_layers": 3, "hidden_size": 312, "intermediate_size": 1200}
    config = BertConfig.from_pretrained(given.encoder, **sizes)
    return _saved(given, "student", lambda: AutoModel.from_config(config))


def _saved(given: Material, name: str, build: Callable[[], Any]) -> Path:
    """Return a folder with a network and the encoder's tokenizer, built once."""
    import torch
    from transformers import AutoTokenizer

    folder = given.work / name
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(1)
        build().save_pretrained(folder)
        AutoTokenizer.from_pretrained(given.encoder).save_pretrained(folder)
    return folder
