"""Breaks one promise at a time and lets script/crash find it: script/crash --mutants.

Each mutant is one edit of a copy of the tree, built on its own; then random kills run until they fail, or for a while if
they do not. A mutant that survives is a hole in the tests. The tree's own suite checks that every text is still there.
"""
from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str
    hunt: tuple[str, ...] = ()  # other words for script/crash

    def apply(self, tree: pathlib.Path) -> None:
        path = tree / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.file} holds {text.count(self.old)} times: {self.old}"
        path.write_text(text.replace(self.old, self.new))


# Not here, since random kills hit it too seldom: a living holder's lock that is taken away (broker/test_death.py has it).
MUTANTS = [
    Mutant("a dead consumer's claims are not given back", "daemon/src/group_recovery.cpp",
           "    if (membership.is_member(membership.context, slot, generation)) continue;\n", "    continue;\n"),
    Mutant("what a dead consumer had acknowledged counts for nothing", "client/src/group_reader.cpp",
           "  batch.done = claim.acked.load_acquire() & batch.all();", "  batch.done = 0;"),
    Mutant("a dead holder's lock stays taken", "daemon/src/group_recovery.cpp",
           "      from_dead = true;\n    }\n", "      return LockTaken::busy;\n    }\n"),
    Mutant("a change that was half made is not finished", "daemon/src/group_recovery.cpp",
           "  if (protocol::repair_group(group) == protocol::Repaired::damaged) out.result = Settled::damaged;\n", "  group.redo.count.store_release(0);\n"),
    Mutant("a dead producer's open loans are not aborted", "daemon/src/lane_recovery.cpp",
           "        header->commit.store_release(protocol::commit_word(protocol::RecordState::aborted, at.position, geometry.capacity_log2));\n", ""),
    Mutant("a living consumer's claims are given to others", "daemon/src/group_recovery.cpp",
           "    if (membership.is_member(membership.context, slot, generation)) continue;\n", "    static_cast<void>(generation);\n"),
    Mutant("an exclusive consumer's cursor moves when it receives", "client/include/atoll/fast_path.hpp",
           "    place->next.store_release(position);\n    ATOLL_KILL_POINT(\"fast.claim.exclusive\");", "    place->next.store_release(position);\n    place->cursor.store_release(position);"),
    Mutant("a producer waits for one group only", "client/src/producer_engine.cpp",
           "    if ((active & (1u << group.id)) == 0) continue;\n    if (as_known", "    if ((active & (1u << group.id)) == 0 || least != kUnbounded) continue;\n    if (as_known"),
    Mutant("a record is committed before it is written", "client/include/atoll/fast_path.hpp",
           "    kCopy(place + payload_offset_, data, length);\n    ATOLL_KILL_POINT(\"fast.send.written\");\n",
           "    commit<__ATOMIC_RELEASE>(place, empty_ + kCommitted, length);\n    kCopy(place + payload_offset_, data, length);\n"),
    Mutant("a lane has two producers", "daemon/src/methods_attach.cpp",
           "    if (lane.owner || lane.damaged || lane.sealed) continue;\n", "    if (lane.damaged || lane.sealed) continue;\n"),
    Mutant("producers wake nobody", "client/src/bell_ringer.cpp",
           "  std::uint64_t summary = sleepers.summary.exchange(0);\n", "  std::uint64_t summary = sleepers.summary.exchange(0) & 0;\n"),
    Mutant("a producer makes no fence before it looks for sleepers", "client/include/atoll/fast_path.hpp",
           "    if (!fence_) return true;\n    protocol::full_fence();\n    return data_sleepers_", "    if (!fence_) return true;\n    return data_sleepers_", ("--peace",)),
    Mutant("a sleeper does not look again", "client/src/bell_ringer.hpp",
           "    if (ready()) return learn(true), Woken::look_again;\n    return doze(", "    static_cast<void>(ready);\n    return doze(", ("--peace",)),
    Mutant("a producer does not see how much room there is", "client/include/atoll/fast_path.hpp",
           "      if (data.size() > max_payload_ || end > open_until) [[unlikely]]", "      if (data.size() > max_payload_ || end > (at | mask_)) [[unlikely]]"),
]


def copy_tree(to: pathlib.Path) -> None:
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file() and not name.startswith(("bench/figures", "bindings/")):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def build(tree: pathlib.Path) -> pathlib.Path:
    """Builds what random kills need. Only what an edit changed is compiled again."""
    directory = tree / "build"
    if not directory.exists():
        subprocess.run(["cmake", "-S", str(tree), "-B", str(directory), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DATOLL_KILL_POINTS=ON"], check=True, capture_output=True)
    done = subprocess.run(["cmake", "--build", str(directory), "--target", "atolld", "atoll_crash_worker", "atoll_agent_cpp"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"a mutant does not build:\n{done.stdout[-3000:]}")
    return directory


def hunt(directory: pathlib.Path, seed: int, minutes: float, words: tuple[str, ...]) -> tuple[bool, str, float]:
    """Random kills with these programs; did they fail, with what, after how many seconds?"""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, str(ROOT / "tests/crash/random_kills.py"), "--minutes", str(minutes), "--seed", str(seed), "--languages", "C++", *words],
                          env=os.environ | {"ATOLL_BUILD": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if "FAILED" in line or "Error" in line]
    return done.returncode != 0, lines[-1].partition(": ")[2] if lines else "", time.monotonic() - begin


def main(minutes: float, seed: int, only: str, record: bool) -> int:
    survivors = 0
    chosen = [mutant for mutant in MUTANTS if any(text in mutant.name for text in only.split(","))]
    with tempfile.TemporaryDirectory(prefix="atoll-mutants-") as folder:
        tree = pathlib.Path(folder)
        copy_tree(tree)
        print("building the tree as it is ...", file=sys.stderr, flush=True)
        build(tree)
        for i, mutant in enumerate(chosen):
            print(f"{i + 1} of {len(chosen)}: {mutant.name} ...", file=sys.stderr, flush=True)
            whole = (tree / mutant.file).read_text()
            mutant.apply(tree)
            caught, how, seconds = hunt(build(tree), seed, minutes, mutant.hunt)
            (tree / mutant.file).write_text(whole)
            survivors += not caught
            print(f"{'caught' if caught else 'SURVIVED':8} {seconds:5.0f} s  {mutant.name}" + (f"\n{'':17}{how[:200]}" if caught else ""), flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants caught")
    if record:
        from random_kills import note

        note("mutants", f"script/crash --mutants --minutes {minutes:g} --seed {seed}", f"{len(chosen) - survivors} of {len(chosen)} builds that break a promise were caught")
    return 1 if survivors else 0
