"""Hints for the names that other programs have for a recipe's keys."""

import pytest

from tinybert.recipe.keys import all_tables
from tinybert.recipe.model import STAGES
from tinybert.recipe.suggest import GONE, RENAMED, suggest

CURES = {
    "training.max_steps": "use `train_steps`",
    "training.num_train_epochs": "use `epoch_size`",
    "data.per_device_train_batch_size": "use `batch_size`",
    "optimizer.max_grad_norm": ('write `clip_norm`, and `clip_by = "global_norm"`, in [optimizer]'),
    "training.gradient_accumulation_steps": (
        "write `micro_batches` in [data], and the rows of all of them as `global_batch_size`"
    ),
    "checkpoints.save_total_limit": "use `max_ckpt_num`",
    "training.eval_steps": "use `save_ckpt_step` under [checkpoints]",
    "training.data_seed": "use `seed` at the top level, above all tables",
    "data.dataloader_drop_last": "use `drop_remainder`",
    "optimizer.optim": 'leave it out: `optimizer = "AdamWeightDecay"` in [optimizer] is AdamW',
    "student.layers": "use `num_hidden_layers`",
    "student.heads": "use `num_attention_heads`",
    "task.metric": "use `assessment_method`",
    "expect.accuracy": "write its bounds in `metrics`: metrics = { accuracy = { min = ... } }",
    "expect.loss": "write its bounds in `metrics`: metrics = { loss = { min = ... } }",
}


@pytest.mark.parametrize(("key", "cure"), CURES.items())
def test_a_name_of_another_program_is_understood(key, cure):
    *table, name = key.split(".")
    assert suggest(STAGES["finetune"], tuple(table), name).cure == cure


def test_every_renamed_key_is_a_key_of_some_stage():
    tables = [table for stage in STAGES.values() for table in all_tables(stage).values()]
    known = {name for table in tables for name in table.model_fields}
    assert set(RENAMED.values()) <= known
    assert not set(GONE) & known
