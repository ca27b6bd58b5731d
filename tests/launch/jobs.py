"""What tests of whole jobs share: a small recipe, its processes, and two hosts on one machine."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil

from tests.conftest import NARROW, ROOT, Runner, folder, settings

STEPS = 50


def make_runner(folder, steps=STEPS, save=10):
    """Return a runner whose recipe `free` has narrow networks and the given length."""
    steps_and_saves = {
        "train_steps = 48": f"train_steps = {steps}",
        "save_ckpt_step = 20": f"save_ckpt_step = {save}",
    }
    return Runner(folder, NARROW | steps_and_saves)


def processes(count, hosts=1):
    """Return the arguments for so many processes a host."""
    return settings(f"topology.devices_per_host={count}", f"topology.hosts={hosts}")


def manifest_of(runner):
    """Return the only manifest of a runner."""
    (path,) = runner.root.glob("manifests/free-*.json")
    return path


def trace(path):
    """Return the records of a run's trace."""
    lines = (folder(path) / "trace.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def workers(launcher):
    """Return the processes of a launcher's job by rank."""
    found = {}
    for child in psutil.Process(launcher.pid).children(recursive=True):
        try:
            command, variables = child.cmdline(), child.environ()
        except psutil.Error:
            continue
        if command[-2:-1] == ["worker"] and variables.get("MS_ROLE") == "MS_WORKER":
            found[int(variables["MS_NODE_ID"])] = child
    return found


def wait_for_step(folder, step, *launchers, seconds=300):
    """Wait until a run has saved a checkpoint after so many steps."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        saved = folder.glob("runs/*/*/checkpoints/step-*.safetensors")
        if any(int(path.stem.removeprefix("step-")) >= step for path in saved):
            return
        for launcher in launchers:
            assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.05)
    raise AssertionError(f"no step {step} in {seconds} seconds")


def all_gone(family):
    """Return whether processes are gone, within a moment."""
    _, alive = psutil.wait_procs(family, timeout=10)
    return not alive


def family_of(launcher):
    """Return everything that a launcher started."""
    return psutil.Process(launcher.pid).children(recursive=True)


class Hosts:
    """Two hosts on one machine: network namespaces joined by a cable, disks of their own."""

    ADDRESSES = ("10.83.0.1", "10.83.0.2")

    def __init__(self, folder):
        self.names = [f"tinybert{os.getpid()}{side}" for side in "ab"]
        self.runners = []
        self.mounted = []
        for side in "ab":
            self.runners.append(make_runner(folder / side, steps=200))
        for name in self.names:
            _ip("netns", "add", name)
        cable = f"v{os.getpid()}"
        _ip("link", "add", f"{cable}a", "type", "veth", "peer", "name", f"{cable}b")
        for name, side, address in zip(self.names, "ab", self.ADDRESSES, strict=True):
            _ip("link", "set", f"{cable}{side}", "netns", name)
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", f"{cable}{side}")
            _ip("-n", name, "link", "set", f"{cable}{side}", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def start(self, host, *arguments, port=9433, secret="0123456789abcdef"):
        """Start a host's part of the recipe, as its user would."""
        runner, secret = self.runners[host], {"TINYBERT_JOB_SECRET": secret}
        command = ["ip", "netns", "exec", self.names[host], sys.executable, ROOT / "runner.py"]
        sets = [f'master_address="{self.ADDRESSES[0]}"', f"master_port={port}"]
        sets += ["timeout_seconds=60"]
        command += [runner.free, "--root", runner.root, *processes(1, hosts=2)]
        command += [part for value in sets for part in ("--set", f"topology.{value}")]
        return subprocess.Popen(
            list(map(str, [*command, *arguments])),
            cwd=runner.root,
            env={**os.environ, "NO_COLOR": "1", "TINYBERT_HOST_RANK": str(host), **secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def mount(self, folder, size):
        """Give a folder a disk of its own."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        self.mounted.append(folder)

    def fill(self, folder):
        """Leave no byte free."""
        with open(folder / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def pids(self):
        """Return all processes that run on these hosts."""
        return [int(pid) for name in self.names for pid in _ip("netns", "pids", name).split()]

    def close(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        for name in self.names:
            _ip("netns", "del", name)
        for place in self.mounted:
            subprocess.run(["umount", "-l", place], check=True)


def can_make_hosts():
    """Return whether this machine lets tests make network namespaces."""
    name = f"tinybert{os.getpid()}x"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _ip(*arguments):
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout
