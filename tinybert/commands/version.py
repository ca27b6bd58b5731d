"""What `--version` prints."""

import platform
from importlib import metadata

import tomli

from tinybert.files import PROGRAM, read_file
from tinybert.manifest.identity import code_identity


def version_text() -> str:
    """Return the version of the program, its commit, and what it runs on."""
    project = tomli.loads(read_file(PROGRAM / "pyproject.toml").decode())["project"]
    code, _ = code_identity(PROGRAM)
    commit = f"commit {code.commit[:12]}" if code.commit else f"digest {code.digest[:12]}"
    changed = " with changes" if code.dirty else ""
    try:
        framework = f"MindSpore {metadata.version('mindspore')}"
    except metadata.PackageNotFoundError:
        framework = "no MindSpore"
    python = f"Python {platform.python_version()}"
    return f"{project['name']} {project['version']} ({commit}{changed}), {python}, {framework}"
