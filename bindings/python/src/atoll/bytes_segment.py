"""Bytes: a plain piece of shared memory, in place or as one content that is replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atoll import errors
from atoll._core import BytesCore, seconds
from atoll.readiness import Readiness
from atoll.references import SLOTS, Reference

if TYPE_CHECKING:
    from types import TracebackType

    from atoll.client import Client

_MODES = {"r": 0, "r+": 1, "c": 2}


class Bytes(Reference, BytesCore):
    """A mapped bytes segment. Made by Client.open_bytes(); a context manager; supports the buffer protocol.

    In place: `data`, `memoryview(b)`, `numpy.frombuffer(b, dtype)`, `read_at`, `write_at`, `flush`; not coordinated
    with other processes. As one: `put` and `get`. Used by one thread at a time. Pickles as a reference.
    """

    __slots__ = SLOTS

    def __init__(self, client: Client, name: str, *, mode: str = "r", wait: float | None = None) -> None:
        if mode not in _MODES:
            raise errors.InvalidArgument(f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
        options = {"mode": _MODES[mode]}
        self._remember(client, name, options)
        self._open(client._core, name, **options, wait=wait)

    def close(self) -> None:
        """Unmaps; tasks that wait here get Closed. ViewsLive (a BufferError) while a memoryview or array over it lives.
        Closing twice is allowed.
        """
        super().close()
        self._tell_closed()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        super().__exit__(kind, error, trace)
        self._tell_closed()

    @property
    def mode(self) -> str:
        """"r", "r+" or "c"."""
        return ("r", "r+", "c")[self._options["mode"]]

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self._info()["size"]

    @property
    def put_size(self) -> int:
        """The longest put, in bytes; 0: none."""
        return self._info()["put_size"]

    @property
    def length(self) -> int:
        """Bytes of the content last put."""
        return self._info()["length"]

    @property
    def version(self) -> int:
        """Number of puts so far."""
        return self._info()["version"]

    def get(self, after: int = 0, timeout: float | None = None) -> bytes:
        """The content last put, once there was one above version `after`. See get_versioned."""
        return self.get_versioned(after, timeout)[0]

    async def get_versioned_async(self, after: int = 0, timeout: float | None = None) -> tuple[bytes, int]:
        """Like get_versioned() for asyncio."""
        limit = seconds(timeout)
        content = self._poll(after)
        if content is not None:
            return content
        if not hasattr(self, "_readiness"):
            self._readiness = Readiness(together=True)
        result: tuple[bytes, int] = await self._readiness.until(self.fileno, lambda: self._poll(after), limit)
        return result

    async def get_async(self, after: int = 0, timeout: float | None = None) -> bytes:
        """Like get() for asyncio."""
        return (await self.get_versioned_async(after, timeout))[0]

    def __repr__(self) -> str:
        return f"<atoll.Bytes {self._name}, mode {self.mode}{' closed' if self.closed else ''}>"
