"""What program runs, and on what: facts that need no framework and no network."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata, util
from pathlib import Path

from tinybert.files import digest_files
from tinybert.manifest.bit_relevance import bits_digest
from tinybert.manifest.built import (
    ArithmeticFacts,
    Environment,
    Framework,
    Processor,
    ThreadFacts,
    TopologyFacts,
)
from tinybert.manifest.canonical import digest
from tinybert.manifest.leaf import NO_FACTS, NoFacts
from tinybert.manifest.model import Code

PATCH_BYTES = 1 << 20
"""A larger patch is not kept, only its digest and size."""

PARTS = ("runner.py", "tinybert", "requirements.lock")
"""The files and folders that are the program."""
DIFF_OPTIONS = ("--no-ext-diff", "--no-textconv", "--binary")
TRACKED = "H"
"""Git's letter for a file whose changes it does not overlook."""
VARIABLES = (
    "DNNL_MAX_CPU_ISA",
    "GLIBC_TUNABLES",
    "HCCL_ALGO",
    "HCCL_DETERMINISTIC",
    "KMP_AFFINITY",
    "LCCL_DETERMINISTIC",
    "LD_PRELOAD",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "MS_DEV_RUNTIME_CONF",
    "MS_INTERNAL_DISABLE_CUSTOM_KERNEL_LIST",
    "MS_INTERNAL_ENABLE_CUSTOM_KERNEL_LIST",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
)
"""The environment variables that a manifest may hold: those that can change results."""
INSTRUCTION_SETS = re.compile(
    r"sse4_[12]|avx.*|fma|f16c|amx_.*|asimd.*|fphp|sve.*|sme2?|bf16|i8mm|svebf16"
)


def code_identity(root: Path) -> tuple[Code, bytes]:
    """Return what the program in the directory of runner.py is, in a Git repository or not.

    Returns:
        The program, but for `patch`, which `RunRecord.keep_patch` adds; and what leads from the
        commit to the tracked files, empty where nothing does.
    """
    root = root.resolve()
    program = _program_files(root)
    imported = _imported_files(root) - program
    hashes = {
        file.path.relative_to(root).as_posix(): file.sha256
        for file in digest_files(sorted(program | imported))
    }
    files = {name: hashes[name] for name in hashes if root / name in program}
    code = Code(digest=digest(files), files=files)
    try:
        commit = _git(root, "rev-parse", "HEAD").decode().strip()
        tags = _tags(root)
        patch = _git(root, "diff", *DIFF_OPTIONS, "HEAD", "--", *PARTS)
    except _GitError:
        return code, b""
    if not tags.keys() & files.keys():
        return code, b""  # the repository is not one of this program
    untracked = {name: hashes[name] for name in hashes if name not in tags}
    overlooked = any(tags.get(name, TRACKED) != TRACKED for name in files)
    dirty = bool(patch or untracked) or (None if overlooked else False)
    return replace(code, commit=commit, dirty=dirty, untracked=untracked), patch


def why_unknown(root: Path) -> str:
    """Return why it is unknown whether the program below `root` is that of a commit."""
    try:
        tags = _tags(root)
        _git(root, "rev-parse", "HEAD")
        _git(root, "diff", *DIFF_OPTIONS, "HEAD", "--", *PARTS)
    except _GitError as error:
        return str(error)
    if "runner.py" not in tags:
        return "the Git repository here does not track this program"
    return "Git is told to overlook changes of some files (assume-unchanged or skip-worktree)"


def _tags(root: Path) -> dict[str, str]:
    """Return how Git treats each tracked file, a letter by its path."""
    entries = _git(root, "ls-files", "-v", "-z").decode(errors="surrogateescape").split("\0")
    return {entry[2:]: entry[0] for entry in entries if entry}


def read_environment(
    *,
    threads: int,
    topology: TopologyFacts,
    determinism: Mapping[str, bool | str],
    arithmetic: ArithmeticFacts | NoFacts = NO_FACTS,
) -> Environment:
    """Return what this process runs on.

    The arguments are the settings of the framework, which is not imported here.
    """
    versions = {
        re.sub(r"[-_.]+", "-", installed.name).lower(): installed.version
        for installed in metadata.distributions()
        if installed.name
    }
    environment = Environment(
        arithmetic=arithmetic,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=" ".join([platform.system(), platform.machine(), *platform.libc_ver()]).strip(),
        mindspore=Framework(version=versions.get("mindspore"), commit=_framework_commit()),
        ascend=_ascend(),
        cpu=read_processor(),
        threads=ThreadFacts(operators=threads, processors=os.cpu_count() or 1),
        distributions=dict(sorted(versions.items())),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        topology=topology,
        determinism=dict(determinism),
    )
    return replace(environment, bits_digest=bits_digest(environment))


def _program_files(root: Path) -> set[Path]:
    paths = [root / name for name in PARTS if (root / name).is_file()]
    paths += (root / "tinybert").rglob("*")
    return {
        path
        for path in paths
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.startswith(".")
        and path.suffix != ".pyc"
    }


def _imported_files(root: Path) -> set[Path]:
    """Return the source files below the root that this process imported, packages left out."""
    paths = {Path(file) for m in list(sys.modules.values()) if (file := _source(m))}
    return {
        path
        for path in paths
        if path.is_relative_to(root) and "site-packages" not in path.parts and path.is_file()
    }


def _source(module: object) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and file.endswith(".py") else None


class _GitError(Exception):
    """Git is missing or answers with an error; the message is the reason."""


def _git(root: Path, *arguments: str) -> bytes:
    """Return what a Git command prints."""
    command = ["git", "-C", str(root), "-c", "core.quotepath=off", *arguments]
    variables = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    try:
        done = subprocess.run(
            command, capture_output=True, env={**variables, "GIT_OPTIONAL_LOCKS": "0"}, check=True
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        raise _GitError(lines[0] if lines else f"git ends with {error.returncode}") from error
    except OSError as error:
        raise _GitError(f"git cannot be run: {(error.strerror or '').lower()}") from error
    return done.stdout


def _framework_commit() -> str | None:
    """Return the commit that the installed MindSpore was built from, without importing it."""
    spec = util.find_spec("mindspore")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / ".commit_id"
    match = re.search(r"\[sha1\]:([0-9a-f]+)", _text(file))
    return match[1] if match else None


def read_processor() -> Processor:
    """Return name and instruction sets of the first processor."""
    facts: dict[str, str] = {}
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    part = f"{facts.get('CPU implementer', '')} {facts.get('CPU part', '')}".strip()
    return Processor(
        model=facts.get("model name") or part or platform.machine(),
        flags=sorted(flag for flag in set(flags) if INSTRUCTION_SETS.fullmatch(flag)),
    )


def _ascend() -> dict[str, str]:
    """Return the versions of CANN and driver, as their installers left them."""
    toolkit = Path(os.environ.get("ASCEND_HOME_PATH", "/usr/local/Ascend/ascend-toolkit/latest"))
    places = {
        "cann": sorted(toolkit.glob("*/ascend_toolkit_install.info")),
        "driver": [Path("/usr/local/Ascend/driver/version.info")],
        "firmware": [Path("/usr/local/Ascend/firmware/version.info")],
    }
    versions = {}
    for name, files in places.items():
        text = "\n".join(_text(file) for file in files)
        if match := re.search(r"^version\s*=\s*(\S+)", text, re.IGNORECASE | re.MULTILINE):
            versions[name] = match[1]
    return versions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
