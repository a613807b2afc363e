"""Atoll: shared memory between programs, in any language, on one machine.

    import atoll

    with atoll.connect() as client:
        client.create("prices")                      # a stream of records
        with client.open_producer("prices") as producer:
            producer.send("one")
        with client.open_consumer("prices", group="g1") as consumer:
            print(consumer.receive(timeout=1).text)

Times are seconds; None waits without limit, 0 tries once. Every wait gives up the GIL and yields to Ctrl-C.
A handle is used by one thread at a time (another one gets InUse); a Client by several. Handles pickle as
references and open themselves anew, also in a forked child. Errors are subclasses of AtollError.
"""

from atoll import errors
from atoll._core import Loan, Message, library_version
from atoll.bytes_segment import Bytes
from atoll.client import Client, connect
from atoll.errors import *  # noqa: F403
from atoll.stream import Consumer, Observer, Producer

__version__: str = library_version()

__all__ = [
    "Bytes",
    "Client",
    "Consumer",
    "Loan",
    "Message",
    "Observer",
    "Producer",
    "connect",
    "errors",
    "__version__",
    *errors.__all__,
]
