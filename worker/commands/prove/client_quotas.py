"""Kafka's request AlterClientQuotas (KIP-546), which librdkafka 2.16 does not have, to a broker without security.

Kafka's own tool would need a Java of its own for each call, which takes seconds.
"""

import socket
import struct

from worker.errors import KafkaFatalError

API_KEY, VERSION = 49, 0
CALL_S_MAX = 30
QUOTA = "consumer_byte_rate"


def set_fetch_quota(address: tuple[str, int], client_id: str, bytes_per_second: float | None) -> None:
    """Sets the quota of all clients of that id together, or removes it.

    Args:
        address: Of any broker.
        client_id: Whose.
        bytes_per_second: None: no quota.

    Raises:
        KafkaFatalError: The broker did not take it.
    """
    try:
        with socket.create_connection(address, CALL_S_MAX) as connection, connection.makefile("rb") as answers:
            connection.sendall(_request(client_id, bytes_per_second))
            size = struct.unpack(">i", answers.read(4))[0]
            code, why = _error(answers.read(size))
    except (OSError, struct.error) as error:
        raise KafkaFatalError(f"The quota of client id {client_id!r} can't be set: {error}") from error
    if code != 0:
        raise KafkaFatalError(f"The quota of client id {client_id!r} can't be set: {why} (error code {code})")


def _request(client_id: str, bytes_per_second: float | None) -> bytes:
    header = struct.pack(">hhi", API_KEY, VERSION, 1) + _string("moderation-worker")
    entity = struct.pack(">i", 1) + _string("client-id") + _string(client_id)
    change = (
        struct.pack(">i", 1) + _string(QUOTA) + struct.pack(">d?", bytes_per_second or 0, bytes_per_second is None)
    )
    body = struct.pack(">i", 1) + entity + change + struct.pack(">?", False)  # noqa: FBT003 - not a dry run
    return struct.pack(">i", len(header + body)) + header + body


def _error(answer: bytes) -> tuple[int, str]:
    """The code and the message of the only entry: behind the correlation id, the throttle time and the count."""
    code, length = struct.unpack_from(">hh", answer, 12)
    return code, answer[16 : 16 + max(0, length)].decode()


def _string(value: str) -> bytes:
    return struct.pack(">h", len(value.encode())) + value.encode()
