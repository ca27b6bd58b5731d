"""Ask the Ascend plugin in MindSpore's wheel which kernel it has for an operator; needs g++.

    python -m tools.ascend_plugin OPERATOR...       a line each: aclnn, CANN, host or none

The plugin needs CANN's libraries to load. Empty ones stand in for them, whose functions return 0:
its registries fill while it loads, and answer; nothing is computed.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

STANDING_IN = (
    "ge_runner graph ascendcl msprofiler hccl runtime platform c_sec nnopbase ascend_hal "
    "d_collective"
)
PLUGIN = ("plugin/libmindspore_ops_ascend.so", "plugin/libmindspore_ascend.so.2")
ABI = ("g++", "-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0", "-fPIC", "-shared")
ASK = """
#include <map>
#include <memory>
#include <string>
namespace ge {
struct StatusFactory { static StatusFactory *Instance(); std::map<unsigned, std::string> known; };
StatusFactory *StatusFactory::Instance() { static StatusFactory made; return &made; }
}
namespace mindspore {
namespace kernel {
bool IsRegisteredAclnnOp(const std::string &);
struct HostKernelMod;
struct HostKernelFactory { static std::shared_ptr<HostKernelMod> Get(const std::string &); };
}
namespace device::ascend {
struct Adapter;
std::shared_ptr<Adapter> FindAdapter(const std::string &, bool);
}
}
extern "C" const char *ask(const char *name) {
  if (mindspore::kernel::IsRegisteredAclnnOp(name)) return "aclnn";
  if (mindspore::kernel::HostKernelFactory::Get(name)) return "host";
  return mindspore::device::ascend::FindAdapter(name, true) ? "CANN" : "none";
}
"""


def asked(operators: Sequence[str]) -> dict[str, str]:
    """Return what the plugin has for each operator, asked in a process of its own."""
    origin = find_spec("mindspore")
    assert origin is not None
    assert origin.origin is not None
    libraries = Path(origin.origin).parent / "lib"
    with TemporaryDirectory() as folder:
        ascend = Path(folder) / "ascend" / "latest" / "lib64"  # the plugin looks for such a path
        ascend.mkdir(parents=True)
        _stand_in(libraries, ascend)
        places = (ascend, libraries, libraries / "plugin", libraries / "plugin" / "ascend")
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, places)), "GLOG_v": "4"}
        command = [sys.executable, "-m", "tools.ascend_plugin", str(ascend), *operators]
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[1],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
    return dict(line.split() for line in done.stdout.splitlines())


def _stand_in(libraries: Path, folder: Path) -> None:
    """Make libraries with every function that the plugin misses, and what asks it."""
    files = {libraries / "libmindspore_cluster.so"}
    for name in PLUGIN:
        files |= {libraries / name, *_linked(libraries / name)}
    undefined, defined = set(), set()
    for line in _output("nm", "-D", *map(str, files)):
        *_, kind, symbol = line.split()[-3:]
        (undefined if kind == "U" else defined).add(symbol.partition("@")[0])
    lines = [".text"]
    for name in sorted(undefined - defined):
        if not name.startswith(("Py", "_Py")) and "StatusFactory" not in name:
            lines += [f".globl {name}", f".type {name},@function", f"{name}:"]
    mark = '.section .note.GNU-stack,"",@progbits'
    (folder / "none.s").write_text("\n".join([*lines, " xorl %eax,%eax", " ret", mark, ""]))
    (folder / "empty.s").write_text(f"{mark}\n")
    (folder / "ask.cc").write_text(ASK)
    for name in STANDING_IN.split():
        source, soname = "none.s" if name == "ascendcl" else "empty.s", f"lib{name}.so"
        command = [*ABI, source, f"-Wl,-soname,{soname}", "-o", soname]
        subprocess.run(command, cwd=folder, check=True)
    subprocess.run([*ABI, "ask.cc", "-o", "libask.so"], cwd=folder, check=True)


def _linked(library: Path) -> set[Path]:
    """Return the libraries that are found for one, without that of messages between cards."""
    found = {Path(line.split()[2]) for line in _output("ldd", str(library)) if "=> /" in line}
    return {path for path in found if "d_collective" not in path.name}


def _output(*command: str) -> list[str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [line for line in done.stdout.splitlines() if len(line.split()) > 1]


def main(folder: str, operators: Sequence[str]) -> None:
    """Load stand-ins, framework and plugin, and print what the plugin has for each operator."""
    sys.setdlopenflags(sys.getdlopenflags() | ctypes.RTLD_GLOBAL)
    for name in ("libd_collective.so", "libascendcl.so", "libask.so"):
        ctypes.CDLL(f"{folder}/{name}", os.RTLD_GLOBAL | os.RTLD_LAZY)
    import mindspore

    libraries = Path(mindspore.__file__).parent / "lib"
    ctypes.CDLL(str(libraries / "libmindspore_cluster.so"), ctypes.RTLD_GLOBAL)
    for name in PLUGIN:
        ctypes.CDLL(str(libraries / name), ctypes.RTLD_GLOBAL)
    ask = ctypes.CDLL(f"{folder}/libask.so").ask
    ask.restype = ctypes.c_char_p
    for operator in operators:
        print(operator, ask(operator.encode()).decode(), flush=True)


if __name__ == "__main__":
    if sys.argv[1].startswith("/"):
        main(sys.argv[1], sys.argv[2:])
    else:
        print("\n".join(f"{name:<30}{has}" for name, has in asked(sys.argv[1:]).items()))
