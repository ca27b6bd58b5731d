"""Portable arithmetic gives the bits of this machine under the emulation of other processors."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, SHIPPED

QEMU = shutil.which("qemu-x86_64")
MODELS = ("Haswell", "EPYC-Rome")
"""An Intel and an AMD processor with AVX2 and without AVX-512, with caches of other sizes."""
KERNELS = """
import hashlib, os
import numpy as np
from tinybert.device import prepare_environment, select
prepare_environment(THREADS, {}, "portable")
select("CPU", 0, THREADS)
import mindspore as ms
from mindspore import ops
draw = np.random.Generator(np.random.Philox(1))
def array(*shape): return ms.Tensor(draw.integers(-2**20, 2**20, shape).astype(np.float32) / 2**19)
digest = hashlib.sha256()
for rows, inner, columns in ((512, 384, 1536), (512, 1536, 384), (384, 512, 1536), (96, 3072, 768)):
    for left, right in ((False, False), (False, True), (True, False)):
        a = array(inner, rows) if left else array(rows, inner)
        b = array(columns, inner) if right else array(inner, columns)
        digest.update(ops.MatMul(left, right)(a, b).asnumpy().tobytes())
scores = ops.BatchMatMul(False, True)(array(4, 12, 128, 32), array(4, 12, 128, 32))
x, gradient = array(512, 384), array(1, 3_000_001)
results = [ops.matmul(gradient, gradient.T)]  # as a sum of squares is computed
results += [ops.softmax(scores), ops.erf(x), ops.tanh(x), ops.exp(x), ops.rsqrt(ops.abs(x) + 1)]
results += [ops.reduce_sum(x, 0), ops.reduce_sum(x, 1), ops.mean(x), ops.sigmoid(x)]
results += [ops.log(ops.abs(x) + 1)]
results += list(ops.LayerNorm()(x, array(384), array(384)))
for result in results: digest.update(result.asnumpy().tobytes())
print(digest.hexdigest())
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(QEMU is None, reason="no qemu-x86_64; on Debian: apt-get install qemu-user"),
]


def emulated(model, *arguments, **options):
    """Run Python as on another processor; return what it prints."""
    command = [QEMU, "-cpu", model, sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["tiny", "tiny_finetune"])
def test_a_run_has_one_digest_on_every_processor(runner, name):
    own = json.loads(runner.run(SHIPPED[name], "--fresh").read_text())
    for model in MODELS:
        arguments = (ROOT / "runner.py", SHIPPED[name], "--fresh", "--root", runner.root)
        out = emulated(model, *arguments, cwd=runner.root)
        other = json.loads((runner.root / out.splitlines()[-1]).read_text())
        assert other["environment"]["arithmetic"] == own["environment"]["arithmetic"]
        assert other["environment"]["bits_digest"] == own["environment"]["bits_digest"]
        assert other["outcome"] == own["outcome"]


def test_kernels_of_real_sizes_give_one_digest_on_every_processor_and_number_of_threads():
    own, *others = (
        subprocess.run(
            [sys.executable, "-c", KERNELS.replace("THREADS", str(threads))],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        ).stdout
        for threads in (1, 2, 3)
    )
    others += [emulated(model, "-c", KERNELS.replace("THREADS", "1"), cwd=ROOT) for model in MODELS]
    assert others == [own] * 4
