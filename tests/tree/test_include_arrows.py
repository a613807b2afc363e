"""Who may include whom: client -> protocol <- daemon, and nothing else."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
SOURCES = (".hpp", ".h", ".cpp", ".c")

# Folder of the including file -> folders whose files it must not include.
FORBIDDEN = {
    "protocol": ("client", "daemon", "bindings"),
    "client": ("daemon", "bindings"),
    "daemon": ("client", "bindings"),
}


def sources(folder):
    return [p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in SOURCES and "node_modules" not in p.parts and "build" not in p.parts]


def target_folder(including, style, name):
    """The top folder of the file that an include means; None if it is not one of ours."""
    if style == '"' and (beside := (including.parent / name).resolve()).is_file() and beside.is_relative_to(ROOT):
        return beside.relative_to(ROOT).parts[0]
    for base in ("protocol/include", "client/include", "client", "client/src", "daemon", "daemon/src", "daemon/include"):
        if (ROOT / base / name).is_file():
            return base.split("/")[0]
    return None


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_a_part_includes_only_what_it_may_depend_on(folder):
    wrong = []
    files = sources(folder)
    assert files, f"{folder} has no source"
    for path in files:
        for style, name in INCLUDE.findall(path.read_text()):
            target = target_folder(path, style, name)
            if target in FORBIDDEN[folder]:
                wrong.append(f"{path.relative_to(ROOT)} includes {name} of {target}/")
    assert not wrong


@pytest.mark.parametrize("folder, other", [("client", "daemon"), ("daemon", "client")])
def test_client_and_daemon_do_not_link_each_other(folder, other):
    names = {"client": r"\batoll_(static|shared)\b", "daemon": r"\batolld(_core)?\b"}[other]
    for path in sorted((ROOT / folder).rglob("CMakeLists.txt")):
        for arguments in re.findall(r"target_link_libraries\s*\(([^)]*)\)", path.read_text()):
            assert not re.search(names, arguments.split(None, 1)[1]), f"{path} links {other}"


def test_protocol_uses_only_the_standard_library_and_json():
    standard = re.compile(r"^[a-z_]+$")
    system = re.compile(r"^(sys/|linux/)?[a-z_0-9]+\.h$")
    for path in sources("protocol/include"):
        for style, name in INCLUDE.findall(path.read_text()):
            assert style == '"' or standard.match(name) or system.match(name) or name.startswith(("nlohmann/", "atoll/protocol/")), (
                f"{path.relative_to(ROOT)} includes {name}"
            )
