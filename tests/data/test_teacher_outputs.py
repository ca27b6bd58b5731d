"""The teacher's outputs: what was written comes back by row, whole, or is refused."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinybert.data import teacher_outputs
from tinybert.data.batch import Batch
from tinybert.data.teacher_outputs import (
    TEACHER,
    LayersShape,
    TeacherLayers,
    TeacherLogits,
    logits_bytes,
    write_layers,
    write_logits,
)
from tinybert.errors import InputError
from tinybert.files import digest_file

KEY = "0123456789abcdef" * 4
LENGTHS = np.array([3, 0, 5, 1])
STORE = SimpleNamespace(rows=4, lengths=LENGTHS)
ROWS = np.random.default_rng(1).standard_normal((4, 2)).astype(np.float32)
TOKENS = np.random.default_rng(2).standard_normal((9, 2)).astype(np.float32)
CURE = "help: delete this directory; the next run computes the teacher's outputs again"


def create(root, logits, by_token, size=None):
    """Return the directory of logits that are written in two parts."""

    def write(directory):
        write_logits(
            directory,
            (logits[:3], logits[3:]),
            num_labels=2,
            size=logits.nbytes if size is None else size,
            matrix_products=lambda: {"Float32": 18},
        )

    return TEACHER.find_or_create(root, KEY, write)


def test_logits_of_rows_come_back_by_index(tmp_path):
    kept = TeacherLogits.open(create(tmp_path, ROWS, False), STORE, by_token=False)
    assert kept.matrix_products == {"Float32": 18}
    indices = np.array([2, 0, 2])
    assert np.array_equal(kept.batch(indices, 6), ROWS[indices])
    assert logits_bytes(STORE, 2, by_token=False) == ROWS.nbytes


def test_logits_of_tokens_come_back_by_row_without_padding_on_the_disk(tmp_path):
    path = create(tmp_path, TOKENS, True)
    batch = TeacherLogits.open(path, STORE, by_token=True).batch(np.array([2, 1, 0]), 6)
    assert batch.shape == (3, 6, 2)
    assert np.array_equal(batch[0, :5], TOKENS[3:8])
    assert np.array_equal(batch[2, :3], TOKENS[:3])
    assert not batch[0, 5:].any() and not batch[1].any() and not batch[2, 3:].any()
    assert (path / "logits.bin").stat().st_size == logits_bytes(STORE, 2, by_token=True) == 72


def test_logits_are_written_once(tmp_path):
    first = create(tmp_path, ROWS, False)
    assert create(tmp_path, ROWS * 2, False) == first


@pytest.mark.parametrize("heads", [0, 4])
def test_layers_come_back_by_row_without_padding_on_the_disk(tmp_path, heads):
    random = np.random.default_rng(4)
    shape = LayersShape(states=3, hidden_size=3, scores=2, heads=heads)
    rows = [
        (random.standard_normal((3, n, 3)), random.standard_normal((2, heads, n, n)))
        for n in LENGTHS
    ]
    rows = [tuple(values.astype(np.float32) for values in row) for row in rows]

    def write(directory):
        write_layers(
            directory, rows, size=shape.size(LENGTHS), matrix_products=lambda: {"Float32": 16}
        )

    path = TEACHER.find_or_create(tmp_path, KEY, write)
    kept = TeacherLayers.open(path, STORE, shape)
    assert kept.matrix_products == {"Float32": 16}
    ids = np.zeros((4, 6), np.int32)
    batch = kept.add_to(Batch(ids, ids, ids), np.array([3, 1, 2, 0]))
    states, scores = batch.teacher_hidden_states, batch.teacher_attention_scores
    assert states.shape == (4, 3, 6, 3)
    for place, row in enumerate((3, 1, 2, 0)):
        n = LENGTHS[row]
        assert np.array_equal(states[place, :, :n], rows[row][0])
        assert not states[place, :, n:].any()
        if heads:
            assert np.array_equal(scores[place, :, :, :n, :n], rows[row][1])
            assert not scores[place, :, :, n:].any() and not scores[place, :, :, :, n:].any()
    assert (scores is None) == (heads == 0)
    sizes = sum(file.stat().st_size for file in path.glob("*.bin"))
    assert sizes == shape.size(LENGTHS) == 4 * (9 * 9 + 2 * heads * 35)
    file = path / "hidden_states.bin"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="the teacher cache is damaged: its SHA-256 is"):
        TeacherLayers.open(path, STORE, shape)


def test_layers_of_another_shape_are_refused(tmp_path):
    row = (np.zeros((3, 9, 3), np.float32), np.zeros(0, np.float32))
    path = TEACHER.find_or_create(
        tmp_path,
        KEY,
        lambda directory: write_layers(directory, [row], size=1, matrix_products=dict),
    )
    with pytest.raises(InputError, match="the teacher cache is damaged"):
        TeacherLayers.open(path, STORE, LayersShape(3, 4, 2, 0))


@pytest.mark.parametrize("place", range(0, ROWS.nbytes, 5))
def test_a_flipped_byte_is_refused(tmp_path, place):
    file = create(tmp_path, ROWS, False) / "logits.bin"
    changed = bytearray(file.read_bytes())
    changed[place] ^= 1
    file.write_bytes(changed)
    with pytest.raises(InputError) as error:
        TeacherLogits.open(file.parent, STORE, by_token=False)
    now, then = digest_file(file).sha256, sha256(ROWS.tobytes()).hexdigest()
    message = f"the teacher cache is damaged: its SHA-256 is {now}, not {then}"
    assert str(error.value) == f"{message}\n  --> {file}\n{CURE}"
    assert error.value.exit_code == 4


def test_logits_that_were_changed_with_their_digest_are_refused(tmp_path):
    path = create(tmp_path, ROWS, False)
    file, index = path / "logits.bin", path / "teacher.json"
    before = digest_file(file).sha256
    file.write_bytes(ROWS[::-1].tobytes())
    index.write_text(index.read_text().replace(before, digest_file(file).sha256))
    with pytest.raises(InputError) as error:
        TeacherLogits.open(path, STORE, by_token=False)
    assert str(error.value) == (
        f"the teacher cache is damaged: its digest is {digest_file(index).sha256}, which its name "
        f"is not\n  --> {path}\n{CURE}"
    )


def test_an_index_of_other_rows_is_refused(tmp_path):
    path = create(tmp_path, TOKENS, False)
    with pytest.raises(InputError) as error:
        TeacherLogits.open(path, STORE, by_token=False)
    assert str(error.value) == (
        f"the teacher cache is damaged\n  --> {path / 'teacher.json'}\n{CURE}"
    )


def test_a_full_disk_is_found_before_anything_is_computed(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=71)
    monkeypatch.setattr(teacher_outputs.shutil, "disk_usage", lambda path: usage)
    logits = SimpleNamespace(nbytes=72)  # cannot be read
    with pytest.raises(InputError) as error:
        TEACHER.find_or_create(
            tmp_path,
            KEY,
            lambda directory: write_logits(
                directory, logits, num_labels=2, size=logits.nbytes, matrix_products=dict
            ),
        )
    assert str(error.value) == (
        f"the teacher's outputs need 72 bytes of disk space, 71 are free\n  --> {tmp_path}\n"
        "help: make room, or leave `teacher_cache_gib` out"
    )
    assert error.value.exit_code == 4
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


STRESS = """
import json, os, signal, sys
from pathlib import Path
from tests.data.kills import die_at
from tests.data.test_teacher_outputs import ROWS, STORE, create
from tinybert.data.teacher_outputs import TeacherLogits

root = Path(sys.argv[1])


def write_in_a_process(kill_at):
    if process := os.fork():
        return process
    die_at(kill_at)
    create(root, ROWS, False)
    os._exit(0)


def whole():
    return [path for path in root.glob("*-*") if path.is_dir() and path.name[0] != "."]


killed = kept = 0
for kill_at in range(1, 10000):
    for path in whole():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    status = os.waitstatus_to_exitcode(os.waitpid(write_in_a_process(kill_at), 0)[1])
    kept += status != 0 and len(whole())
    path = create(root, ROWS, False)
    assert (TeacherLogits.open(path, STORE, by_token=False).batch([0, 1, 2, 3], 6) == ROWS).all()
    assert whole() == [path] and not list(root.glob(".*")), kill_at
    if status == 0:
        break
    assert status == -signal.SIGKILL
    killed += 1
print(json.dumps([killed, kept]))
"""


def test_a_kill_at_any_moment_leaves_nothing_or_all(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", STRESS, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    killed, kept = json.loads(run.stdout)
    assert killed > 20
    assert 0 < kept < killed
