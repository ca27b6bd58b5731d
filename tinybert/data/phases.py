"""The trainings of a recipe on a number of rows: which rows each step takes, and its rates."""

from collections.abc import Iterator
from dataclasses import dataclass

from tinybert.data.sampler import Sampler
from tinybert.errors import InputError
from tinybert.recipe.model import AnyRecipe, Evaluate, Finetune, GeneralDistill, TaskDistill
from tinybert.recipe.model import Phase as TaskPhase
from tinybert.recipe.schedule import Polynomial, warmup_steps
from tinybert.recipe.tables import (
    Batches,
    Checkpoints,
    LossScale,
    Optimizer,
    Training,
    global_batch_size,
)


@dataclass(frozen=True)
class TrainingTables:
    """The tables of a recipe for one training."""

    name: str
    """The phase, or the stage where there are no phases."""
    batches: Batches
    tables: GeneralDistill | Finetune | TaskPhase
    """What has optimizer, loss scale, length and checkpoints."""


@dataclass(frozen=True)
class TrainingPhase:
    """One training: which rows every step takes, and how it updates, scales and saves."""

    name: str
    sampler: Sampler
    schedule: Polynomial
    optimizer: Optimizer
    loss_scale: LossScale
    checkpoints: Checkpoints

    @property
    def global_batch_size(self) -> int:
        """Rows a step over all devices."""
        return self.sampler.global_batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the phase."""
        return self.schedule.total_steps

    def samples(self, steps: int) -> int:
        """Return the rows that the first `steps` steps take."""
        epochs, batches = divmod(steps, self.sampler.batches_per_epoch)
        rows, size = self.sampler.rows, self.global_batch_size
        rows_per_epoch = min(rows, self.sampler.batches_per_epoch * size)
        return epochs * rows_per_epoch + min(rows, batches * size)


def trainings(recipe: AnyRecipe) -> Iterator[TrainingTables]:
    """Yield the tables of each training of a recipe, in their order; an evaluation has none."""
    if isinstance(recipe, GeneralDistill | Finetune):
        yield TrainingTables(recipe.stage, recipe.data, recipe)
    elif isinstance(recipe, TaskDistill):
        for name, phase in (("phase1", recipe.phase1), ("phase2", recipe.phase2)):
            if phase is not None:
                yield TrainingTables(name, phase, phase)


def training_phase(recipe: AnyRecipe, training: TrainingTables, rows: int) -> TrainingPhase:
    """Return a training of a recipe on a number of rows.

    Args:
        recipe: The recipe.
        training: The tables of the training.
        rows: Rows of its records.

    Raises:
        InputError: An epoch has no batch, or the warmup is longer than the training.
    """
    assert not isinstance(recipe, Evaluate)
    data, tables = recipe.data, training.tables
    size = global_batch_size(training.batches, recipe.topology)
    sampler = Sampler(rows, size, recipe.seed, data.do_shuffle, data.drop_remainder)
    return TrainingPhase(
        name=training.name,
        sampler=sampler,
        schedule=_schedule(tables.training, tables.optimizer, sampler.batches_per_epoch),
        optimizer=tables.optimizer,
        loss_scale=tables.loss_scale,
        checkpoints=tables.checkpoints,
    )


def _schedule(training: Training, optimizer: Optimizer, steps_per_epoch: int) -> Polynomial:
    """Turn a training's length and its warmup into steps."""
    table = optimizer.schedule
    if training.train_steps is not None:
        total_steps = training.train_steps
    else:
        assert training.epoch_size is not None
        total_steps = training.epoch_size * steps_per_epoch
    warmup = warmup_steps(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        steps=table.warmup_steps,
        ratio=table.warmup_ratio,
        epoch_ratio=table.warmup_epoch_ratio,
    )
    if warmup > total_steps:
        raise InputError(
            f"{warmup} steps of warmup in a run of {total_steps} steps",
            cure="shorten the warmup, or lengthen the training",
        )
    return Polynomial(
        learning_rate=table.learning_rate,
        end_learning_rate=table.end_learning_rate,
        power=table.power,
        warmup_steps=warmup,
        total_steps=total_steps,
        decay_start=warmup if table.decay_from == "warmup_end" else 0,
    )
