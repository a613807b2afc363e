"""Streams: Producer sends records, Consumer receives them through a group, Observer only watches.

The work is done in atoll._core; here is what is better said in Python: JSON, arrays, asyncio, references.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from atoll import errors
from atoll._core import Message, ProducerCore, ReaderCore, seconds
from atoll.readiness import Readiness
from atoll.references import SLOTS, Reference

if TYPE_CHECKING:
    from types import TracebackType

    import numpy
    from typing_extensions import Self

    from atoll.client import Client

_STARTS = {"earliest": 0, "latest": 1}
_BACK = 2
_JSON = 2
_ARRAY = 3
_FAIR = 64  # messages that an `async for` takes at once before others on the loop get their turn


def _start(start: str | int) -> tuple[int, int]:
    if isinstance(start, int) and not isinstance(start, bool) and 0 <= start < 1 << 64:
        return (_BACK, start)
    if isinstance(start, str) and start in _STARTS:
        return (_STARTS[start], 0)
    raise errors.InvalidArgument(f'start must be "earliest", "latest" or how many records back, not {start!r}')


class Producer(Reference, ProducerCore):
    """Writes a stream, through a lane of its own. Made by Client.open_producer(); a context manager.

    Used by one thread at a time. Pickles as a reference: the copy is a producer of its own.
    """

    __slots__ = SLOTS

    def __init__(self, client: Client, name: str, *, wait: float | None = None) -> None:
        self._remember(client, name, {})
        self._open(client._core, name, wait=wait)

    def send_json(self, value: Any, timeout: float | None = None) -> bool:
        """Sends a value as JSON. False if the stream is drop-new and full. ValueError for NaN and infinity."""
        return self._send(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")), _JSON, timeout)

    def send_array(self, array: numpy.ndarray[Any, Any], timeout: float | None = None) -> bool:
        """Sends a NumPy array with its dtype, shape and order. One copy. TypeError for arrays of objects."""
        from atoll.arrays import encode

        head, body = encode(array)
        return self._send_parts(head, body, _ARRAY, timeout)

    @property
    def lane(self) -> int:
        """Number of the lane it writes."""
        return self._info()["lane"]

    @property
    def sequence(self) -> int:
        """Number of the next record in its lane."""
        return self._info()["sequence"]

    @property
    def capacity(self) -> int:
        """Bytes of the lane."""
        return self._info()["capacity"]

    @property
    def max_payload(self) -> int:
        """Bytes of the largest record."""
        return self._info()["max_payload"]

    @property
    def alignment(self) -> int:
        """Of payloads, in bytes."""
        return self._info()["alignment"]

    @property
    def when_full(self) -> str:
        """"block", "drop-new" or "overwrite"."""
        return ("block", "drop-new", "overwrite")[self._info()["when_full"]]

    @property
    def dropped(self) -> int:
        """Records refused because the ring was full, since the lane began."""
        return self._info()["dropped"]

    @property
    def blocked(self) -> int:
        """Times that a send had to wait, since the lane began."""
        return self._info()["blocked"]

    def __repr__(self) -> str:
        return f"<atoll.Producer of {self._name}{' closed' if self.closed else ''}>"


class _Reader(Reference, ReaderCore):
    """What consumers and observers have in common."""

    __slots__ = SLOTS

    def close(self, *, release: bool = False) -> None:
        """Leaves the group; tasks that wait here get Closed. ViewsLive (a BufferError) while messages are held; with
        release=True they are released first, and only memoryviews and arrays keep it open. Closing twice is allowed.
        """
        super().close(release=release)
        self._tell_closed()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        super().__exit__(kind, error, trace)
        self._tell_closed()

    def _refuse_manual(self, call: str) -> None:
        if self._options["manual"]:
            raise errors.InvalidArgument(f"{call}: a manual consumer's record must be acknowledged", fix="use receive() and acknowledge()")

    def receive_json(self, timeout: float | None = None) -> Any:
        """The next record parsed as JSON; it is released. BadEncoding if it is none (it is released then, too)."""
        self._refuse_manual("receive_json")
        with self.receive(timeout) as message:
            return message.json()

    def receive_array(self, timeout: float | None = None) -> numpy.ndarray[Any, Any]:
        """The next record as a read-only NumPy array without a copy; released when the array goes."""
        self._refuse_manual("receive_array")
        return self.receive(timeout).array()

    async def receive_async(self, timeout: float | None = None) -> Message:
        """Like receive() for asyncio. Cancelling it loses no record: none is taken until it returns."""
        return await self._first(self._poll, seconds(timeout))

    async def _first(self, poll: Callable[[], Message | None], limit: float | None) -> Message:
        """The first message that `poll` gives, within `limit` seconds."""
        message = poll()
        if message is not None:
            return message
        if not hasattr(self, "_readiness"):
            self._readiness = Readiness()
        result: Message = await self._readiness.until(self.fileno, poll, limit)
        return result

    def __aiter__(self) -> _AsyncLoop:
        return _AsyncLoop(self)

    @property
    def received(self) -> int:
        """Records given to the program."""
        return self._info()["received"]

    @property
    def lost(self) -> int:
        """Records overwritten before they could be read, known so far."""
        return self._info()["lost"]

    @property
    def outstanding(self) -> int:
        """Records received and not yet done."""
        return self._info()["outstanding"]

    @property
    def lanes(self) -> int:
        """Lanes it reads."""
        return self._info()["lanes"]

    @property
    def alignment(self) -> int:
        """Of payloads, in bytes."""
        return self._info()["alignment"]

    @property
    def copies(self) -> bool:
        """True if messages are copies: of observers, and of overwrite streams."""
        return bool(self._info()["copies"])


class _AsyncLoop:
    """One `async for` over a reader. Releases the message before when it is asked for the next, as a for loop does."""

    __slots__ = ("_reader", "_messages", "_taken")

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._messages = ReaderCore.__iter__(reader)
        self._taken = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        self._messages._let_go_last()
        self._taken += 1
        if self._taken % _FAIR == 0:
            await asyncio.sleep(0)
        try:
            return await self._reader._first(self._messages._poll, None)
        except errors.Ended:
            raise StopAsyncIteration from None


class Consumer(_Reader):
    """Reads a stream through a group. Made by Client.open_consumer(); a context manager.

    Iterable, also with `async for`; each loop, and each iter(consumer), goes by itself and is given the next record. A
    loop releases its message when it asks for the next, unless something besides the loop refers to it: a list, or a
    generator around the loop that is waiting. Such a message stays held, and while it is, the group's other consumers do
    not come to the end: iteration ends when every producer has finished and the whole group has dealt with all.

    Used by one thread at a time (else InUse), but messages may be released and acknowledged by any. Pickles as a
    reference: the copy is a further consumer of the group. Leaving a with block normally releases what was received;
    leaving it by an exception gives it out again.
    """

    __slots__ = ()

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        group: str = "default",
        start: str | int = "earliest",
        manual: bool = False,
        exclusive: bool = False,
        ephemeral: bool = False,
        spin: bool = False,
        prefetch: int = 0,
        wait: float | None = None,
    ) -> None:
        how, back = _start(start)
        options: dict[str, Any] = {
            "observer": False,
            "group": group,
            "manual": manual,
            "exclusive": exclusive,
            "ephemeral": ephemeral,
            "spin": spin,
            "start": how,
            "back": back,
            "prefetch": prefetch,
        }
        self._remember(client, name, options)
        self._open(client._core, name, **options, wait=wait)

    @property
    def group(self) -> str:
        """Name of the group."""
        group: str = self._options["group"]
        return group

    def __repr__(self) -> str:
        return f"<atoll.Consumer of {self._name}, group {self.group}{' closed' if self.closed else ''}>"


class Observer(_Reader):
    """Watches a stream. Made by Client.open_observer(). Receives like a Consumer, but copies; nothing is acknowledged."""

    __slots__ = ()

    def __init__(self, client: Client, name: str, *, start: str | int = "latest", wait: float | None = None) -> None:
        how, back = _start(start)
        options: dict[str, Any] = {
            "observer": True,
            "group": None,
            "manual": False,
            "exclusive": False,
            "ephemeral": False,
            "spin": False,
            "start": how,
            "back": back,
            "prefetch": 0,
        }
        self._remember(client, name, options)
        self._open(client._core, name, **options, wait=wait)

    def __repr__(self) -> str:
        return f"<atoll.Observer of {self._name}{' closed' if self.closed else ''}>"
