"""Handles as references: what is needed to open one again in another process.

A handle that is pickled, or inherited by a forked child, is not the same handle there: it opens itself anew,
with the options it was opened with, over a connection of that process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atoll.client import Client
    from atoll.readiness import Readiness

# What the classes made of this one and one of atoll._core keep. (Only one base may have slots of its own.)
NO_SLOTS: tuple[str, ...] = ()
SLOTS = ("_client", "_name", "_options", "_readiness", "__weakref__")


class Reference:
    """Base of Producer, Consumer, Observer and Bytes, before the class of atoll._core."""

    __slots__ = NO_SLOTS

    _client: Client
    _name: str
    _options: dict[str, Any]
    _readiness: Readiness

    def _remember(self, client: Client, name: str, options: dict[str, Any]) -> None:
        self._client = client
        self._name = name
        self._options = options

    @property
    def name(self) -> str:
        """Name of the segment."""
        return self._name

    def _reopen(self) -> None:
        """In a forked child: called by atoll._core at the first use of what the parent opened."""
        from atoll.client import _shared_client

        if hasattr(self, "_readiness"):
            del self._readiness  # the tasks that wait there are the parent's
        self._client = _shared_client(self._client._reference())
        self._open(self._client._core, self._name, **self._options)  # type: ignore[attr-defined]

    def _tell_closed(self) -> None:
        if hasattr(self, "_readiness"):
            self._readiness.closed()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self), self._client._reference(), self._name, self._options))


def _restore(kind: Any, reference: tuple[Any, ...], name: str, options: dict[str, Any]) -> Any:
    from atoll.client import _shared_client

    client = _shared_client(reference)
    handle = kind.__new__(kind)
    handle._remember(client, name, options)
    handle._open(client._core, name, **options)
    return handle
