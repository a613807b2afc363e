"""What the figures were taken on."""

import os
import platform
import re
import subprocess
import time

from . import contenders


def _first_line(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
        return out.splitlines()[0].strip() if out else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def facts():
    cpuinfo = _read("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    caches = []
    for index in range(4):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}/"
        if os.path.exists(folder) and _read(folder + "type") != "Instruction":
            caches.append(f"L{_read(folder + 'level')} {_read(folder + 'size')}")
    memory = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    system = re.search(r'PRETTY_NAME="?([^"\n]*)', _read("/etc/os-release"))
    commit = _first_line(["git", "-C", contenders.ROOT, "describe", "--always", "--dirty"])
    return {
        "cpu": model[1] if model else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "caches": ", ".join(caches),
        "hypervisor": "hypervisor" in cpuinfo,
        "memory_mib": int(memory[1]) // 1024 if memory else None,
        "system": system[1] if system else platform.system(),
        "kernel": platform.release(),
        "compiler": _first_line(["g++", "--version"]),
        "python": _first_line([contenders.VENV_PYTHON, "--version"]) or _first_line(["python3", "--version"]),
        "node": _first_line([contenders.NODE, "--version"]),
        "commit": commit,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_before": os.getloadavg()[0],
    }


def lines(found):
    virtual = " (virtual machine)" if found["hypervisor"] else ""
    return [
        f"{found['cpu']}, {found['cpus']} CPUs{virtual}, {found['caches']}",
        f"{found['system']}, Linux {found['kernel']}, {found['memory_mib']} MiB, load {found['load_before']:.1f} at the start",
        f"{found['compiler']}; {found['python']}; Node {found['node']}; commit {found['commit']}",
    ]
