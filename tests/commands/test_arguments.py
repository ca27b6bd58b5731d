from tinybert.commands.arguments import GLUE_NAMES
from tinybert.prepare.glue import GLUE_TASKS


def test_the_command_line_knows_every_glue_task():
    assert GLUE_NAMES == tuple(GLUE_TASKS)
