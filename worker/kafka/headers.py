"""The headers of a message, read in the one way that is safe with confluent-kafka 2.16.

Do not call ``message.headers()`` from Python. If a header's name is not UTF-8:

1. confluent-kafka returns a list with a hole, and leaves an exception set;
2. the interpreter's fast path for such calls does not check for an exception;
3. a later, unrelated call raises the exception, and the process ends.

A call from C, as ``methodcaller`` makes it, checks and raises SystemError immediately. Call it only once for a
message: the second call returns the list with the hole.
"""

from operator import methodcaller
from typing import cast

from confluent_kafka import Message

from worker.records import Headers

_headers = methodcaller("headers")


def headers_of(message: Message) -> Headers | None:
    """Return the headers in their order; None if the name of a header is not UTF-8. Kafka requires UTF-8."""
    try:
        return cast("Headers", _headers(message) or ())
    except SystemError:
        return None
