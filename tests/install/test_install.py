"""`cmake --install` makes something that other projects can use: by find_package, by pkg-config, by hand."""
import os
import pathlib
import shutil
import subprocess

import pytest

from support.broker import Runtime

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ATOLL_BUILD", ROOT / "build"))

C_PROGRAM = r"""
#include <atoll/atoll.h>
#include <stdio.h>

int main(void) {
  atoll_error error = ATOLL_ERROR_INIT;
  atoll_connect_options options = ATOLL_CONNECT_OPTIONS_INIT;
  atoll_client *client = NULL;
  atoll_status status;
  options.flags = ATOLL_CONNECT_NO_START;
  status = atoll_client_connect(&options, &client, &error);
  printf("%s %s\n", atoll_version(), atoll_status_name(status));
  atoll_client_close(client);
  return 0;
}
"""
CPP_PROGRAM = r"""
#include <atoll/atoll.hpp>
#include <iostream>

int main() {
  atoll_ipc::ConnectOptions options;
  options.start_broker = false;
  const auto client = atoll_ipc::Client::connect(options);
  std::cout << (client ? "connected" : client.error().name()) << '\n';
}
"""
PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(atoll 0.1 REQUIRED)
add_executable(with_shared main.c)
target_link_libraries(with_shared PRIVATE atoll::atoll_shared)
add_executable(with_static main.cpp)
target_link_libraries(with_static PRIVATE atoll::atoll_static)
"""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", BUILD, "--prefix", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No broker is reached: the programs are to say no_broker."""
    monkeypatch.setenv("ATOLL_SOCKET", str(tmp_path / "none"))
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_programs_pages_and_completions_are_installed(prefix):
    for name in ("bin/atoll", "bin/atolld", "share/man/man1/atoll.1", "include/atoll/atoll.h",
                 "include/atoll/atoll.hpp", "share/bash-completion/completions/atoll", "share/atoll/protocol/SPEC.md",
                 "share/atoll/protocol/manifest.schema.json"):
        assert (prefix / name).is_file(), f"{name} is not installed"
    assert list(prefix.rglob("atolld.8")) or list(prefix.rglob("atolld.1")), "atolld has no manual page"
    assert list(prefix.rglob("atolld*.service")), "there is no systemd unit"


def test_the_installed_programs_run(prefix):
    assert "0.1.0" in run(prefix / "bin/atoll", "--version")
    assert "0.1.0" in run(prefix / "bin/atolld", "--version")


def test_a_project_finds_the_package_and_links_both_libraries(prefix, nowhere):
    (nowhere / "main.c").write_text(C_PROGRAM)
    (nowhere / "main.cpp").write_text(CPP_PROGRAM)
    (nowhere / "CMakeLists.txt").write_text(PROJECT)
    run("cmake", "-G", "Ninja", "-S", nowhere, "-B", nowhere / "b", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", nowhere / "b")
    assert run(nowhere / "b/with_shared") == "0.1.0 no_broker\n"
    assert run(nowhere / "b/with_static") == "no_broker\n"


def test_a_c_program_builds_with_pkg_config(prefix, nowhere):
    (nowhere / "main.c").write_text(C_PROGRAM)
    pc = next(prefix.rglob("atoll.pc")).parent
    # The prefix of the file is that of the configuration; here it lies elsewhere.
    flags = run("pkg-config", "--define-prefix", "--cflags", "--libs", "atoll", env=os.environ | {"PKG_CONFIG_PATH": str(pc)}).split()
    run("gcc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", nowhere / "main.c", "-o", nowhere / "main", *flags)
    library = str(pc.parent)
    assert run(nowhere / "main", env=os.environ | {"LD_LIBRARY_PATH": library}) == "0.1.0 no_broker\n"


def test_the_example_in_the_header_runs(prefix, tmp_path):
    header = (prefix / "include/atoll/atoll.hpp").read_text().split("#pragma once")[0]
    example = "\n".join(line.removeprefix("//") for line in header.splitlines() if line.startswith("//   "))
    assert example.count(";") == 7, example
    (tmp_path / "main.cpp").write_text(f"#include <atoll/atoll.hpp>\nint main() {{\n{example}\n  return view.text() == \"one\" ? 0 : 1;\n}}\n")
    pc = next(prefix.rglob("atoll.pc")).parent
    flags = run("pkg-config", "--define-prefix", "--cflags", "--libs", "atoll", env=os.environ | {"PKG_CONFIG_PATH": str(pc)}).split()
    run("g++", "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", tmp_path / "main.cpp", "-o", tmp_path / "main", *flags)
    runtime = Runtime()
    try:
        run(tmp_path / "main", env=os.environ | runtime.environment | {"LD_LIBRARY_PATH": str(pc.parent)}, timeout=60)
    finally:
        runtime.close()
        shutil.rmtree(tmp_path)


def test_the_c_header_is_also_cpp_and_needs_nothing_before_it(prefix, nowhere):
    for compiler, standard, suffix in (("gcc", "c11", "c"), ("g++", "c++17", "cpp")):
        (nowhere / f"one.{suffix}").write_text("#include <atoll/atoll.h>\nint main(void) { return atoll_version() == 0; }\n")
        run(compiler, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", f"-I{prefix}/include", nowhere / f"one.{suffix}")
