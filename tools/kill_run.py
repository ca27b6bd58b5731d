"""Run runner.py and kill its own process, by SIGKILL, at a moment that the command line names.

    python tools/kill_run.py MOMENT NUMBER DELAY -- ARGUMENTS OF runner.py

MOMENT is `compile`, `step`, `checkpoint`, `manifest`, `store`, `teacher` or `parts`. The process
kills itself DELAY seconds after the moment came for the NUMBER-th time: the graph begins to
compile; a step ended; a temporary file of that kind was opened, synced, or renamed into its place.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EVENTS = ("open", "os.mkdir", "os.rename")
PLACES = {
    "checkpoint": "/checkpoints/",
    "manifest": "/manifests/",
    "store": "/runs/store/",
    "teacher": "/runs/teacher/",
    "parts": ".parts/",
}


class Killer:
    """Counts moments, and kills the process after the one that was asked for."""

    def __init__(self, number, delay):
        self.left = number
        self.delay = delay

    def __call__(self):
        """Count one moment; kill this process at the last."""
        self.left -= 1
        if self.left == 0:
            if self.delay == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Thread(target=self._later, daemon=True).start()

    def _later(self):
        time.sleep(self.delay)
        os.kill(os.getpid(), signal.SIGKILL)


def watch(moment, killer):
    """Call `killer` at every moment of the kind."""
    if moment in ("compile", "step"):
        watch_training(moment, killer)
    else:
        place = PLACES[moment]

        def audit(event, arguments):
            if event in EVENTS and place in str(arguments[0]) and ".tmp" in str(arguments[0]):
                killer()

        sys.addaudithook(audit)


def watch_training(moment, killer):
    """Call `killer` from what every training calls: before it compiles, or after each step."""
    from tinybert.stages import training

    train = training.train

    def watched(*arguments, after_step, report_activity, **options):
        def step_ended(result):
            after_step(result)
            if moment == "step":
                killer()

        def activity_begins(activity):
            report_activity(activity)
            if (moment, activity) == ("compile", "compiling"):
                killer()

        train(*arguments, after_step=step_ended, report_activity=activity_begins, **options)

    training.train = watched


if __name__ == "__main__":
    moment, number, delay = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    sys.argv = ["runner.py", *sys.argv[5:]]
    watch(moment, Killer(number, delay))
    import runner

    sys.exit(runner.main())
