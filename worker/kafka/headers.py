"""The headers of a message, as confluent-kafka gives them safely.

Not by ``message.headers()``: for a name that is not UTF-8 confluent-kafka 2.16 returns a list with a hole and
leaves an exception set. The interpreter's short cut for such calls does not look, and the exception comes out of
some later call, which ends the process; called from C it is a SystemError at once. Nor is it asked twice: then the
list with the hole is given.
"""

from operator import methodcaller
from typing import cast

from confluent_kafka import Message

from worker.records import Headers

_given = methodcaller("headers")


def headers_of(message: Message) -> Headers | None:
    """The headers in their order; None when a name is not UTF-8, as Kafka wants it: they can't be read."""
    try:
        return cast("Headers", _given(message) or ())
    except SystemError:
        return None
