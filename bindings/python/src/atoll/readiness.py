"""Waiting for a handle in asyncio, by its level-triggered descriptor.

Whoever waits first tries, then sleeps until the descriptor is readable, then tries again: what is taken is
taken only in the step that returns it, so that cancelling loses nothing. The descriptor is watched only while
somebody waits, and a try that finds nothing makes it unreadable again, so nothing spins.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from atoll import errors


class Readiness:
    """The tasks that wait for one handle, oldest first. Belongs to the event loop of the first of them."""

    __slots__ = ("_waiters", "_loop", "_descriptor", "_together")

    def __init__(self, together: bool = False) -> None:
        """together: those who wait want different things, so all of them try when there is something."""
        self._together = together
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._descriptor = -1

    async def until(self, fileno: Callable[[], int], attempt: Callable[[], Any], limit: float | None) -> Any:
        """The first result of attempt() that is not None. TimedOut after `limit` seconds, 0 or more."""
        loop = asyncio.get_running_loop()
        end = None if limit is None else loop.time() + limit
        while True:
            if end is not None and loop.time() >= end:
                raise errors.TimedOut("nothing came within the time limit")
            await self._readable(loop, fileno(), end)
            result = attempt()
            if result is not None:
                return result

    async def _readable(self, loop: asyncio.AbstractEventLoop, descriptor: int, end: float | None) -> None:
        if self._waiters and self._loop is not loop:
            raise errors.InUse("a task of another event loop waits for this handle", fix="give each loop a handle of its own")
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append(future)
        if len(self._waiters) == 1:
            self._loop, self._descriptor = loop, descriptor
            loop.add_reader(descriptor, self._wake)
        timer = None if end is None else loop.call_at(end, self._settle, future)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            self._waiters.remove(future)
            if not self._waiters and self._descriptor >= 0:
                loop.remove_reader(self._descriptor)

    def _wake(self) -> None:
        """The descriptor is readable: the oldest waiter that is not awake yet tries, or all of them."""
        for future in self._waiters:
            if not future.done():
                future.set_result(None)
                if not self._together:
                    return

    def closed(self) -> None:
        """The handle was closed, by any thread: whoever waits tries, and hears of it."""
        if not self._waiters or self._loop is None:
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._end()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self._loop is not None and self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)  # its number may be another file's soon
            self._descriptor = -1
        for future in self._waiters:
            self._settle(future)

    @staticmethod
    def _settle(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
