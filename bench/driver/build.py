"""Builds what is measured: the C++ contenders with Atoll, and the two packages. Peers of other languages are bench/setup's."""

import os
import shutil
import subprocess
import sys

from . import contenders


class BuildFailed(Exception):
    """The text says which step failed and what to do."""


def _step(name, command, fix, environment=None):
    print(f"  {name} ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", env=environment, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"{name} failed (status {done.returncode}); the end of its output:\n"
                          + "\n".join(done.stdout.splitlines()[-25:]) + f"\nfix: {fix}")


def build(with_packages):
    """C++ always; the Python and Node packages by script/build, which does nothing when they are up to date."""
    environment = dict(os.environ)
    if shutil.which("ccache"):
        environment.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
        environment.setdefault("CMAKE_C_COMPILER_LAUNCHER", "ccache")
    if not os.path.exists(os.path.join(contenders.BUILD, "build.ninja")):
        _step("configure", ["cmake", "-S", contenders.ROOT, "-B", contenders.BUILD, "-G", "Ninja", "-DATOLL_BENCH=ON", "-DATOLL_TESTS=OFF"],
              "bench/setup installs what CMake did not find", environment)
    _step("build C++", ["cmake", "--build", contenders.BUILD], "the compiler's message is above", environment)
    if os.path.exists(contenders.VENV_PYTHON):
        _empty_call()
    if os.path.isdir(contenders.NODE_API):
        _build_empty("empty_call_node.c", "empty_call.node", contenders.NODE_API, "bench/setup installs the Node package's headers")
    if with_packages and os.path.exists(contenders.VENV_PYTHON):
        _step("build the Python and Node packages", [os.path.join(contenders.ROOT, "script", "build"), "python", "node"],
              "run bench/setup, or leave these rows out with --only cpp")


def _empty_call():
    """The extension that does nothing, for the Python that the package is measured in."""
    include = subprocess.run([contenders.VENV_PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
                             capture_output=True, text=True, check=False).stdout.strip()
    _build_empty("empty_call.c", "empty_call.so", include, "bench/setup installs python3-dev")


def _build_empty(source, target, include, fix):
    """A function that does nothing, as a call of it is what a binding's calls are compared with."""
    source = os.path.join(contenders.BENCH, "peers", source)
    target = os.path.join(contenders.PROGRAMS, target)
    if os.path.exists(target) and os.path.getmtime(target) >= os.path.getmtime(source):
        return
    _step("build " + os.path.basename(target), [os.environ.get("CC", "gcc"), "-O3", "-shared", "-fPIC", f"-I{include}", source, "-o", target], fix)
