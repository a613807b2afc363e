"""Runs the flights example in a place of its own and shows what happens: called by script/demo.

Starts examples/flights/producer.py and consumer.mjs with a broker socket in a fresh directory, draws the
progress, runs `atoll ls` and `atoll show` while records flow, optionally kills the broker on the
way, then removes the streams, stops the broker and checks that nothing is left.
Status 0 only if both tables agree and nothing is left.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "build/bin"
EXAMPLE = ROOT / "examples/flights"
ANSWER_SECONDS = 300


class Failed(Exception):
    """A step failed: what, and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"failed: {what}\nfix:    {fix}")


class Bar:
    """A progress bar on a terminal; without one, a line for each quarter."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.quarter = 0
        self.began = time.monotonic()

    def show(self, done: int, total: int) -> None:
        share = done / total if total else 0
        rate = done / max(time.monotonic() - self.began, 1e-9)
        text = f"{done:>9,} of {total:,} records  {share:4.0%}  {rate:>10,.0f}/s"
        if self.terminal:
            width = max(10, min(40, shutil.get_terminal_size().columns - len(text) - 6))
            filled = round(share * width)
            sys.stderr.write(f"\r\033[K  [{'#' * filled}{'.' * (width - filled)}] {text}")
            sys.stderr.flush()
        elif int(share * 4) > self.quarter:
            self.quarter = int(share * 4)
            sys.stderr.write(f"  {text}\n")

    def clear(self) -> None:
        if self.terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


class Demo:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="atoll-demo-"))
        self.environment = os.environ | {
            "ATOLL_SOCKET": str(self.directory / "atoll.sock"),
            "ATOLLD": str(BINARIES / "atolld"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.programs: list[subprocess.Popen] = []
        self.looks: list[tuple[str, subprocess.Popen]] = []
        self.killed_at: int | None = None

    def atoll(self, *words: str, check: bool = True) -> str:
        done = subprocess.run([BINARIES / "atoll", *words], env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise Failed(f"atoll {' '.join(words)}: {done.stderr.strip()}", "see the message above")
        return done.stdout

    def start(self, *command: str, **options) -> subprocess.Popen:
        program = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, text=True, **options)
        self.programs.append(program)
        return program

    def look(self, *words: str) -> None:
        """Runs the command beside the traffic; its output is shown when the traffic is through."""
        self.looks.append((" ".join(words), subprocess.Popen([BINARIES / "atoll", *words], env=self.environment, text=True,
                                                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)))

    def follow(self, producer: subprocess.Popen) -> None:
        """Reads the producer's events until it has sent all: draws, looks, kills."""
        bar = Bar()
        total = sent = 0
        broker = None
        complaints = []
        for line in producer.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                complaints.append(line)
                continue
            total = event.get("total", total)
            sent = event["sent"]
            if broker is None:
                broker = json.loads(self.atoll("status", "--json"))["pid"]
                bar.began = time.monotonic()
            bar.show(sent, total)
            if not self.looks and sent >= total / 4:
                self.look("ls")
                self.look("show", "flights")
            kill_at = self.arguments.kill_broker_at
            if kill_at is not None and self.killed_at is None and sent >= kill_at * total:
                os.kill(broker, signal.SIGKILL)
                self.killed_at = sent
                if sent >= total:
                    raise Failed("every record was sent before the broker could be killed", "choose a smaller --kill-broker-at")
        bar.clear()
        sys.stderr.write("".join(complaints))

    def run(self) -> None:
        mode = ["--json"] if self.arguments.json else []
        consumer = self.start("node", str(EXAMPLE / "consumer.mjs"), *mode)
        producer = self.start(sys.executable, str(EXAMPLE / "producer.py"), self.arguments.flights, "--events", *mode,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.follow(producer)
        tables = producer.stdout.read()
        statuses = [program.wait(timeout=ANSWER_SECONDS) for program in (producer, consumer)]
        for words, look in self.looks:
            output = look.communicate(timeout=60)[0]
            # With the broker killed under it, a look may have been cut off; traffic must not be.
            print(f"$ atoll {words}\n{output}")
        print(tables)
        if self.killed_at is not None:
            new = json.loads(self.atoll("status", "--json"))
            print(f"the broker was killed after {self.killed_at:,} records; the broker now is process {new['pid']}, started by a client\n")
        if statuses[0] != 0:
            raise Failed(f"the producer ended with status {statuses[0]}", "see its message above")
        if statuses[1] != 0:
            raise Failed(f"the consumer ended with status {statuses[1]}", "see its message above")

    def clean_up(self) -> None:
        """Removes the streams as a user would, stops the broker, and checks that nothing is left."""
        for name in [segment["name"] for segment in json.loads(self.atoll("ls", "--json"))]:
            self.atoll("rm", name)
        left = json.loads(self.atoll("ls", "--json"))
        if left:
            raise Failed(f"atoll ls still shows {left}", "atoll rm --force")
        self.atoll("stop")
        memory = self.shared_memory()
        if memory:
            raise Failed(f"shared memory is left: {memory}", "atoll gc --apply")
        print("cleaned up: atoll ls is empty, nothing is left in /dev/shm")

    def shared_memory(self) -> list[str]:
        found = []
        for folder in pathlib.Path("/dev/shm").glob("atoll-*/*"):
            try:
                if (folder / "runtime").read_text().strip("\0\n") == str(self.directory):
                    found.append(str(folder))
            except OSError:
                continue
        return found

    def close(self) -> None:
        """Whatever happened: no program, broker, file or memory of ours stays."""
        for program in self.programs:
            if program.poll() is None:
                program.kill()
                program.wait()
        subprocess.run([BINARIES / "atoll", "stop"], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True)
        for folder in self.shared_memory():
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/demo", description="Sends 231,083 flights from Python to Node through shared memory.")
    parser.add_argument("flights", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="send each flight as JSON, not as a binary record")
    parser.add_argument("--kill-broker-at", type=float, metavar="SHARE", help="kill the broker with -9 after this share of the records, e.g. 0.5")
    arguments = parser.parse_args()
    if arguments.kill_broker_at is not None and not 0 <= arguments.kill_broker_at < 1:
        parser.error("--kill-broker-at is a share from 0 to below 1, e.g. 0.5")
    demo = Demo(arguments)
    try:
        demo.run()
        demo.clean_up()
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    finally:
        demo.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
