"""Parts of a batch are added in one tree, whoever holds them, and then one update is made."""

from contextlib import nullcontext

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mindspore import Parameter, nn

from tests.train.test_step import batch, build, state
from tinybert.kernels.threads import THREADS
from tinybert.model.cpu_operators import framework_only
from tinybert.train import host_update, world
from tinybert.train.micro_batches import MicroBatchStep, tree_sum
from tinybert.train.world import ALONE, World

PARTS, STEPS, OVERFLOW = 4, 5, 3


def as_text(a, b):
    return f"({a}+{b})"


def test_sums_are_a_balanced_tree_over_the_places():
    assert tree_sum("a", as_text) == "a"
    assert tree_sum("abcd", as_text) == "((a+b)+(c+d))"
    assert tree_sum("abcdefgh", as_text) == "(((a+b)+(c+d))+((e+f)+(g+h)))"


@given(height=st.integers(0, 5), split=st.integers(0, 5))
def test_a_process_adds_a_subtree(height, split):
    parts, processes = 2**height, 2 ** min(height, split)
    own = [World(rank, processes).own_parts(parts, 3 * parts) for rank in range(processes)]
    assert [part for some in own for part in some] == list(range(parts))
    shares = [tree_sum(some, as_text) for some in own]
    assert tree_sum(shares, as_text) == tree_sum(range(parts), as_text)


@pytest.mark.parametrize("count", [0, 3, 6])
def test_other_numbers_than_powers_of_two_have_no_tree(count):
    with pytest.raises(ValueError, match="values to unpack"):
        tree_sum(range(count), as_text)


def test_few_parts_and_sums_are_held_at_once():
    added = []

    def parts():
        for taken in range(16):
            assert taken - len(added) <= 4  # a sum of each level
            yield 1

    def add(a, b):
        added.append(a + b)
        return a + b

    assert tree_sum(parts(), add) == 16


@pytest.mark.parametrize(
    ("rank", "size", "groups"),
    [(0, 2, ["0-1"]), (3, 4, ["2-3", "1-3"]), (5, 8, ["4-5", "5-7", "1-5"]), (0, 1, [])],
)
def test_processes_meet_in_pairs_from_the_leaves_to_the_root(monkeypatch, rank, size, groups):
    made = []
    monkeypatch.setattr(world, "create_group", lambda name, ranks: made.append((name, ranks)))
    names = world._pairs.__wrapped__(World(rank, size))
    assert names == tuple(f"tinybert-{group}" for group in groups)
    assert made == [(f"tinybert-{g}", [int(r) for r in g.split("-")]) for g in groups]


@pytest.fixture(scope="module")
def parts():
    """The micro-batches of some steps, numbers that round when they are added."""
    random = np.random.default_rng(0)
    x = random.standard_normal((STEPS, PARTS, 3)).astype(np.float32)
    y = random.standard_normal((STEPS, PARTS, 2)).astype(np.float32)
    x[OVERFLOW, 1, 0] = 1e37
    return [[batch(*row) for row in zip(*step, strict=True)] for step in zip(x, y, strict=True)]


@pytest.fixture(scope="module", params=["host", "graph"])
def form(request):
    """The update on the host, or in a graph as on other devices."""
    with nullcontext() if request.param == "host" else framework_only():
        yield


@pytest.fixture(scope="module")
def whole(parts, form):
    """One step with the sums of all parts, which the network's gradients are."""
    step = MicroBatchStep(build(), micro_batches=None, world=ALONE)
    outputs = []
    for some in parts:
        x, y = (tree_sum([part[field] for part in some], np.add) for field in (0, 1))
        outputs += step.call([[batch(x, y)]], stop=False)
    return outputs, state(step.step)


@pytest.mark.parametrize("sink_steps", [None, 2, 5])
def test_a_step_of_parts_is_the_step_of_their_sums(parts, whole, sink_steps):
    step = MicroBatchStep(build(), micro_batches=PARTS, world=ALONE, data_sink_steps=sink_steps)
    outputs = []
    while len(outputs) < STEPS:
        outputs += step.call(parts[len(outputs) :][: step.steps_per_call], stop=False)
    expected, weights = whole
    for output, same in zip(outputs, expected, strict=True):
        assert output.losses == pytest.approx(same.losses, rel=1e-5)
        assert output._replace(losses=()) == same._replace(losses=())
    assert [output.finite for output in outputs] == [number != OVERFLOW for number in range(STEPS)]
    for one, other in zip(state(step.step), weights, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_learning_rate_that_was_changed_since_the_step_was_built_is_used(parts, form):
    step = build()
    compiled_step = MicroBatchStep(step, micro_batches=PARTS, world=ALONE)
    before = [parameter.asnumpy().copy() for parameter in step.optimizer.parameters]
    step.learning_rates = ms.Tensor(np.full(STEPS, 0.25, np.float32))
    (outputs,) = compiled_step.call(parts[:1], stop=False)
    assert outputs.learning_rate == 0.25  # the schedule begins with 0
    for parameter, old in zip(step.optimizer.parameters, before, strict=True):
        assert (parameter.asnumpy() != old).any()


def test_threads_that_share_an_update_leave_its_bits(parts, monkeypatch):
    monkeypatch.setattr(host_update, "PIECE", 3)
    states = []
    try:
        for threads in (1, 2):
            THREADS.use(threads)
            step = MicroBatchStep(build(), micro_batches=PARTS, world=ALONE)
            for some in parts:
                step.call([some], stop=False)
            states.append([array.tobytes() for array in state(step.step)])
    finally:
        THREADS.use(1)
    assert states[0] == states[1]


def test_losses_are_the_tree_sums_of_those_of_the_parts(parts, form):
    outputs = MicroBatchStep(build(), micro_batches=PARTS, world=ALONE).call(parts[:1], stop=True)
    alone = [build().call([[part]], stop=False)[0].losses for part in parts[0]]
    added = tree_sum([np.array(losses, np.float32) for losses in alone], np.add)
    assert outputs[0].losses == tuple(added.tolist())
    assert outputs[0].stop == 1.0


class Alike(nn.Cell):
    """A loss of one part, which is that part; x is the gradient of both parameters."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.one, self.two = (Parameter(ms.Tensor([0.5, -1.0, 2.0]), name=name) for name in "ab")

    def construct(self, x, *rest):
        loss = (x * self.one + x * self.two).sum()
        return loss, loss


def test_results_that_are_one_value_in_the_graph_are_added_once(parts, form):
    step = MicroBatchStep(build(network=Alike()), micro_batches=PARTS, world=ALONE)
    (outputs,) = step.call(parts[:1], stop=False)
    x = np.sum([part[0] for part in parts[0]], axis=0)
    assert outputs.losses == pytest.approx([2 * x @ [0.5, -1.0, 2.0]] * 2, rel=1e-5)
    assert outputs.gradient_norm == pytest.approx(np.sqrt(2 * x @ x), rel=1e-5)


def test_gradients_of_float16_parameters_are_added_in_float32(form):
    step = build(initial=1.0, dtype=ms.float16)
    given = [batch([x, 0, 0], [0, 0]) for x in (40000, 40000, -40000, -39999)]
    (outputs,) = MicroBatchStep(step, micro_batches=4, world=ALONE).call([given], stop=False)
    assert outputs.finite  # in float16 40,000 + 40,000 is infinite
