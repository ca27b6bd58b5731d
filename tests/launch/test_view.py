"""What a launcher repeats of the first process's log."""

import structlog

from tinybert.launch.view import LogRepeater


def test_events_but_steps_are_repeated_once_and_whole(tmp_path):
    log_file = tmp_path / "worker_0.log"
    repeater = LogRepeater(log_file)
    with structlog.testing.capture_logs() as heard:
        repeater.repeat()
        log_file.write_text('[INFO] chatter\n{"event": "step", "loss": 1}\n{"event": "evalu')
        repeater.repeat()
        assert heard == []
        with log_file.open("a") as file:
            file.write('ation", "step": 20, "accuracy": 0.5, "level": "info", "timestamp": "t"}\n')
        repeater.repeat()
        repeater.repeat()
    assert heard == [{"event": "evaluation", "step": 20, "accuracy": 0.5, "log_level": "info"}]
