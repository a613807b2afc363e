"""JSON in a record: one UTF-8 JSON value. Called by Message.json()."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from atoll import errors
from atoll._core import Message


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def json_of(message: Message) -> Any:
    """The payload parsed; BadEncoding, saying why, for whatever is no JSON."""
    try:
        return json.loads(message.text, parse_constant=_refuse)
    except errors.AtollError:
        raise
    except (ValueError, RecursionError) as error:
        raise errors.BadEncoding(f"the record is not JSON: {error}", fix="check how it was sent; read it as bytes to look at it") from None
