"""Small variants of the shipped tiny recipes, for runs of the stages with a task."""

import pytest

from tests.conftest import SHIPPED

NARROW = {
    "hidden_size = 48\nnum_hidden_layers = 4\nintermediate_size = 96": (
        "hidden_size = 16\nnum_hidden_layers = 2\nintermediate_size = 24"
    ),
    "hidden_size = 24\nnum_hidden_layers = 2\nintermediate_size = 48": (
        "hidden_size = 8\nnum_hidden_layers = 1\nintermediate_size = 16"
    ),
}
"""Networks that compile in seconds."""


@pytest.fixture(scope="session")
def write_recipe(runner):
    """Write a variant of a shipped recipe with narrow networks; returns its path."""

    def write(name, shipped, changes=(), tail=""):
        text = SHIPPED[shipped].read_text().partition("\n[expect]")[0]
        for old, new in (*NARROW.items(), *dict(changes).items()):
            assert old in text or old in NARROW, old
            text = text.replace(old, new)
        path = runner.root / f"{name}.toml"
        path.write_text(text + tail)
        return path

    return write
