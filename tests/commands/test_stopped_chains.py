"""A chain and a study that are stopped: exit code, what remains, and that the command goes on."""

import json
import os
import signal

import pytest

from tests.conftest import NARROW, ROOT, SHIPPED, Runner
from tinybert.commands.chain import run_apart
from tinybert.errors import StoppedError
from tinybert.recipe.load import load
from tinybert.run.execute import RunOptions
from tinybert.signals import StopRequest

LONGER = {**NARROW, "epoch_size = 4": "epoch_size = 20"}
"""Changes of a recipe: steps enough that a signal comes before the last."""


@pytest.fixture
def chain(tmp_path):
    """A runner with two fine-tunings."""
    runner = Runner(tmp_path / "root")
    text = SHIPPED["tiny_finetune"].read_text().partition("[expect]")[0]
    for old, new in LONGER.items():
        text = text.replace(old, new)
    for seed in (1, 2):
        (runner.root / f"seed{seed}.toml").write_text(text.replace("seed = 1", f"seed = {seed}"))
    return runner


def stop(runner, words, signum, *, group):
    """Send a signal at the first step, to the command alone or as a terminal does, to all."""
    process = runner.start(*words, "--root", runner.root, start_new_session=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "step=1/" in line:
            break
    send = os.killpg if group else os.kill
    send(process.pid, signum)
    out, err = process.communicate()
    return process.returncode, out, "".join(lines) + err


def manifests(runner, name):
    paths = sorted(runner.root.glob(f"manifests/{name}-2*.json"))
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "group", "code"), [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143)]
)
def test_a_chain_that_is_stopped_names_what_remains_and_goes_on(chain, signum, group, code):
    words = ("run", "seed1.toml", "seed2.toml")
    returned, out, err = stop(chain, words, signum, group=group)
    assert (returned, out) == (code, "")
    assert "Traceback" not in err
    assert err.endswith(
        "error: seed1.toml was stopped; not begun: seed2.toml\n"
        "help: the same command goes on from here\n"
    )
    (stopped,) = manifests(chain, "seed1")
    assert stopped["outcome"]["status"] == "interrupted"
    returned, out, err = chain(*words, "--root", chain.root)
    assert returned == 0, err
    finished = [*manifests(chain, "seed1"), *manifests(chain, "seed2")]
    assert [each["outcome"]["status"] for each in finished] == ["finished", "finished"]
    assert [len(each["volatile"]["segments"]) for each in finished] == [2, 1]


@pytest.mark.slow
def test_a_study_that_is_stopped_goes_on(chain):
    words = ("study", "seed1.toml", "--set", "seed=1,2")
    returned, out, err = stop(chain, words, signal.SIGINT, group=True)
    assert (returned, out) == (130, "")
    assert err.endswith(
        "error: seed1.toml was stopped; not begun: 1 more run of the study\n"
        "help: the same command goes on from here\n"
    )
    returned, out, err = chain(*words, "--root", chain.root)
    assert returned == 0, err
    assert ": 2 of 2 runs finished\n" in out
    assert sorted(len(each["volatile"]["segments"]) for each in manifests(chain, "seed1")) == [1, 2]


def test_a_signal_at_the_end_of_a_run_is_heard_before_the_next(tmp_path):
    recipe = load(ROOT / "recipes" / "tiny.toml")
    with StopRequest() as request, request.waiting():
        os.kill(os.getpid(), signal.SIGTERM)
        while request.signum is None:
            pass
        with pytest.raises(StoppedError) as caught:
            run_apart(recipe, RunOptions("", tmp_path), request, ["b.toml"])
    assert caught.value.message == f"stopped; not begun: {recipe.path}, b.toml"
    assert caught.value.exit_code == 143
