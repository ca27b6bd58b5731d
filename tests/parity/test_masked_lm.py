"""The head of masked language modelling against transformers' BertForMaskedLM."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from transformers import BertConfig, BertForMaskedLM

from tests.parity.ours import GATES
from tinybert.augment.masked import MaskedWords
from tinybert.augment.masked_rows import MaskedRow
from tinybert.export.source import SourceRequest, find_network

pytestmark = pytest.mark.parity

SIZES = {
    "vocab_size": 1009,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 12,
    "intermediate_size": 384,
    "max_position_embeddings": 80,
}


def seeded_model(activation):
    """Return a network of which every part matters."""
    torch.manual_seed(3)
    model = BertForMaskedLM(BertConfig(**SIZES, hidden_act=activation)).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn_like(values) * 2 / SIZES["hidden_size"] ** 0.5
            values.copy_(noise + ("LayerNorm.weight" in name))
    return model


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_logits_at_masked_tokens_are_those_of_transformers(tmp_path, activation):
    model = seeded_model(activation)
    model.save_pretrained(tmp_path)
    generator = np.random.default_rng(4)
    rows = []
    for tokens in (3, 12, 16, 30, 79):
        segment_ids = (np.arange(tokens) >= tokens * 2 // 3).astype(int)
        input_ids = generator.integers(5, 1009, tokens).tolist()
        rows.append(MaskedRow(input_ids, segment_ids.tolist(), int(generator.integers(tokens))))
    network = find_network(SourceRequest(tmp_path, Path(), None, None, None, None), pooler=False)
    ours = MaskedWords(network, range(1009))
    for row in rows:
        with torch.no_grad():
            theirs = model(
                input_ids=torch.tensor([row.input_ids]),
                token_type_ids=torch.tensor([row.segment_ids]),
            ).logits[0, row.position]
        logits = ours.logits([row], 4, 80)[0]
        # logits are not normed, as hidden states are: relative to the largest
        assert np.abs(logits - theirs.numpy()).max() < GATES["hidden"] * theirs.abs().max()
        (best,) = ours.predict([row], 15, int)
        assert best.tolist() == theirs.topk(15).indices.tolist()
