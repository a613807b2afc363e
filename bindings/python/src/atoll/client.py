"""The connection to the broker: create, list and remove segments, and open them.

`connect` is where a program starts. A Client may be used by several threads at once.
"""

from __future__ import annotations

import builtins
import json
import os
import pathlib
import threading
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from atoll import errors
from atoll._core import ClientCore
from atoll.bytes_segment import Bytes
from atoll.stream import Consumer, Observer, Producer

_KINDS = {"stream": 1, "bytes": 5}
_BACKINGS = {"shm": 0, "file": 1, "memfd": 2}
_WHEN_FULL = {"block": 0, "drop-new": 1, "overwrite": 2}
_RIGHTS = {"produce": "p", "consume": "c", "observe": "o", "admin": "a"}
_PROGRAMS = pathlib.Path(__file__).parent / "bin"

_connecting_anew = threading.Lock()  # held while a forked child connects


def _after_fork() -> None:
    global _connecting_anew
    _connecting_anew = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork)


def _choice(argument: str, value: str, choices: Mapping[str, int]) -> int:
    try:
        return choices[value]
    except (KeyError, TypeError):
        raise errors.InvalidArgument(f"{argument} must be one of {', '.join(map(repr, choices))}, not {value!r}") from None


def _access_text(access: str | Mapping[str, str | Iterable[str]] | None) -> str | None:
    """{"alice": ["produce", "consume"]} as "alice:pc", what the library reads."""
    if access is None or isinstance(access, str):
        return access
    if not isinstance(access, Mapping):
        raise errors.InvalidArgument(f"access must be a text or a mapping of users to rights, not {access!r}", fix='write {"alice": ["produce"]} or "alice:p"')
    rules = []
    for user, rights in access.items():
        if not isinstance(rights, str):
            try:
                rights = "".join(_RIGHTS[right] for right in rights)
            except KeyError as right:
                raise errors.InvalidArgument(f"access: rights are {', '.join(_RIGHTS)}, not {right}") from None
        rules.append(f"{user}:{rights}")
    return ",".join(rules)


class Client:
    """A connection to the broker, made by connect(). Closing it leaves what was opened from it working.

    A context manager. After a fork the child's first use connects anew. Pickles as a reference: the
    copy connects for itself.
    """

    def __init__(self, socket: str | os.PathLike[str] | None = None, start_broker: bool = True, timeout: float | None = 10.0) -> None:
        self._socket = None if socket is None else os.fspath(socket)
        self._start_broker = start_broker
        self._timeout = timeout
        self._connect()

    def _connect(self) -> None:
        # The broker that came with this package, unless the environment names another.
        atolld = _PROGRAMS / "atolld"
        own = None if "ATOLLD" in os.environ or not atolld.exists() else str(atolld)
        self._connection = ClientCore(socket=self._socket, atolld=own, start_broker=self._start_broker, timeout=self._timeout)
        self._pid = os.getpid()  # last: where that failed, the next use tries again

    @property
    def _core(self) -> ClientCore:
        if self._pid != os.getpid():
            with _connecting_anew:
                if self._pid != os.getpid() and not self._connection.closed:
                    self._connect()
        return self._connection

    def _reference(self) -> tuple[str | None, bool, float | None]:
        return (self._socket, self._start_broker, self._timeout)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Client, self._reference())

    # ---- Segments ---------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        kind: str = "stream",
        *,
        capacity: int | None = None,
        when_full: str = "block",
        alignment: int | None = None,
        size: int | None = None,
        put_size: int | None = None,
        backing: str = "shm",
        directory: str | os.PathLike[str] | None = None,
        access: str | Mapping[str, str | Iterable[str]] | None = None,
    ) -> bool:
        """Creates a segment. False if it is there already with the same options.

        kind "stream": `capacity` bytes of each producer's lane (from 4096 on, rounded up to a power of two; default 1 MiB),
        `when_full` "block", "drop-new" or "overwrite", `alignment` of payloads 16 (default) or 64.
        kind "bytes": `size` in bytes; `put_size`, the longest put (default: size up to 16 MiB, else none; 0: none).
        `backing` "shm", "file" (in `directory`; survives a reboot) or "memfd" (no name).
        `access`: who else may use it, {"alice": ["produce", "consume", "observe", "admin"]}, "*" for everybody.

        An option that is for the other kind is an error.

        Raises ExistsWithOtherOptions, NoSpace, InvalidName, InvalidArgument, InvalidGeometry, LimitReached, NotPermitted.
        """
        kind_number = _choice("kind", kind, _KINDS)
        when_full_number = _choice("when_full", when_full, _WHEN_FULL)
        others: dict[str, object] = {"size": size, "put_size": put_size}
        if kind == "bytes":
            others = {"capacity": capacity, "alignment": alignment, "when_full": when_full if when_full_number else None}
        for option, value in others.items():
            if value is not None:
                raise errors.InvalidArgument(
                    f"{name!r} is to be of kind {kind!r}, which has no {option} ({value!r} was given)", fix="leave it out, or choose the other kind"
                )
        return self._core.create(
            name,
            kind=kind_number,
            backing=_choice("backing", backing, _BACKINGS),
            when_full=when_full_number,
            capacity=capacity,
            alignment=alignment,
            size=size,
            put_size=put_size,
            directory=None if directory is None else os.path.abspath(directory),
            access=_access_text(access),
        )

    def remove(self, name: str, force: bool = False, group: str | None = None) -> None:
        """Removes a segment, or one group of a stream. Raises InUse unless `force`, UnknownSegment, UnknownGroup."""
        parameters: dict[str, Any] = {"name": name, "force": force}
        if group is not None:
            parameters["group"] = group
        self.call("Remove", **parameters)

    def list(self, prefix: str | None = None) -> builtins.list[dict[str, Any]]:
        """One dict for each segment: name, kind, size, producers, consumers, ..."""
        reply: builtins.list[dict[str, Any]] = self.call("List", **({} if prefix is None else {"prefix": prefix}))["segments"]
        return reply

    def show(self, name: str) -> dict[str, Any]:
        """All about one segment: lanes, groups, clients. The manifest comes parsed."""
        reply = self.call("Show", name=name)
        reply["manifest"] = json.loads(reply["manifest"])
        return reply

    def manifest(self, name: str) -> dict[str, Any]:
        """The segment's manifest: every file, offset and option."""
        manifest: dict[str, Any] = json.loads(self.call("Manifest", name=name)["manifest"])
        return manifest

    def status(self) -> dict[str, Any]:
        """The broker's own state: version, pid, directory, log, memory used and free, ..."""
        return self.call("Status")

    def gc(self, apply: bool = False) -> dict[str, Any]:
        """What could be cleaned up (`findings`, `bytes`); cleans it up if `apply`."""
        return self.call("Gc", apply=apply)

    def stop(self) -> None:
        """Ends the broker. Segments stay, except memfd ones; the next call of anybody starts a new broker."""
        self.call("Stop")

    def call(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the broker's interface (protocol/dev.atoll.Broker.varlink) and returns its reply."""
        reply: dict[str, Any] = json.loads(self._core.call(method, json.dumps(parameters, allow_nan=False)))
        return reply

    # ---- Handles ----------------------------------------------------------------------------------

    def open_producer(self, name: str, wait: float | None = None) -> Producer:
        """Opens a stream for sending. `wait`: seconds to wait for the segment to appear (None: not at all)."""
        return Producer(self, name, wait=wait)

    def open_consumer(
        self,
        name: str,
        group: str = "default",
        start: str | int = "earliest",
        *,
        manual: bool = False,
        exclusive: bool = False,
        ephemeral: bool = False,
        spin: bool = False,
        prefetch: int = 0,
        wait: float | None = None,
    ) -> Consumer:
        """Joins a group of a stream. Each record goes to one consumer of each group.

        `start`, if the group is new: "earliest", "latest", or an int, so many records back in each lane.
        `manual`: records are dealt with when acknowledged, not when released. `exclusive`: one consumer at a time,
        no lock. `ephemeral`: the group ends with its last consumer. `prefetch`: most records claimed ahead, 1 to 64.
        `spin`: waiting is looking, never sleeping: for a process with a CPU of its own.
        `wait`: seconds to wait for the segment to appear.
        """
        return Consumer(
            self, name, group=group, start=start, manual=manual, exclusive=exclusive, ephemeral=ephemeral, spin=spin,
            prefetch=prefetch, wait=wait,
        )

    def open_observer(self, name: str, start: str | int = "latest", wait: float | None = None) -> Observer:
        """Watches a stream: takes nothing away, holds nothing back, gets copies and is told what it missed."""
        return Observer(self, name, start=start, wait=wait)

    def open_bytes(self, name: str, mode: str = "r", wait: float | None = None) -> Bytes:
        """Maps a bytes segment: "r" to read, "r+" to read and write, "c" with changes that stay private."""
        return Bytes(self, name, mode=mode, wait=wait)

    # ---- Life ---------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """True once close() was called."""
        return self._connection.closed

    def close(self) -> None:
        """Closes the connection. What was opened from it goes on working. Closing twice is allowed."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<atoll.Client {self._socket or 'default socket'}{' closed' if self.closed else ''}>"


def connect(socket: str | os.PathLike[str] | None = None, start_broker: bool = True, timeout: float | None = 10.0) -> Client:
    """Connects to the broker, starting one for this user if there is none (unless start_broker=False).

    `socket`: the broker's; by default $ATOLL_SOCKET, else the user's own, else /run/atoll/. `timeout`: seconds that this
    call, and each later one to the broker, may take, starting the broker included. None (or infinity): no limit.
    Raises NoBroker, TimedOut, InvalidArgument, UntrustedBroker, SocketPathTooLong, BadRuntimeDirectory, LimitReached, WrongVersion.
    """
    return Client(socket, start_broker, timeout)


_shared: weakref.WeakValueDictionary[tuple[Any, ...], Client] = weakref.WeakValueDictionary()


def _shared_client(reference: tuple[str | None, bool, float | None]) -> Client:
    """The connection that handles which were unpickled, or inherited by a fork, share."""
    key = (os.getpid(), *reference)
    client = _shared.get(key)
    if client is None or client.closed:
        client = _shared[key] = Client(*reference)
    return client
