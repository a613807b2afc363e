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

    __slots__ = ("_waiters", "_loop", "_descriptor")

    def __init__(self) -> None:
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._descriptor = -1

    async def until(self, fileno: Callable[[], int], attempt: Callable[[], Any], timeout: float | None) -> Any:
        """The first result of attempt() that is not None. TimedOut after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
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
            if not self._waiters:
                loop.remove_reader(self._descriptor)

    def _wake(self) -> None:
        """The descriptor is readable: the oldest waiter that is not awake yet tries."""
        for future in self._waiters:
            if not future.done():
                future.set_result(None)
                return

    @staticmethod
    def _settle(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
