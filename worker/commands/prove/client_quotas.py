"""Kafka's request AlterClientQuotas (KIP-546), to a broker without security. librdkafka 2.16 does not have it.

Kafka's own tool would start a JVM for each call, which takes seconds.
"""

import socket
import struct

from worker.errors import KafkaFatalError

API_KEY, VERSION = 49, 0
CALL_S_MAX = 30
QUOTA = "consumer_byte_rate"


def set_fetch_quota(address: tuple[str, int], client_id: str, bytes_per_second: float | None) -> None:
    """Set or remove the fetch quota that all clients with this client id share.

    Args:
        address: Host and port of any broker.
        client_id: The client id.
        bytes_per_second: The quota; None removes it.

    Raises:
        KafkaFatalError: The broker did not set it.
    """
    try:
        with socket.create_connection(address, CALL_S_MAX) as connection, connection.makefile("rb") as answers:
            connection.sendall(_request(client_id, bytes_per_second))
            size = struct.unpack(">i", answers.read(4))[0]
            code, reason = _error(answers.read(size))
    except (OSError, struct.error) as error:
        raise KafkaFatalError(f"The quota of client id {client_id!r} can't be set: {error}") from error
    if code != 0:
        raise KafkaFatalError(f"The quota of client id {client_id!r} can't be set: {reason} (error code {code})")


def _request(client_id: str, bytes_per_second: float | None) -> bytes:
    header = struct.pack(">hhi", API_KEY, VERSION, 1) + _string("moderation-worker")
    entity = struct.pack(">i", 1) + _string("client-id") + _string(client_id)
    change = (
        struct.pack(">i", 1) + _string(QUOTA) + struct.pack(">d?", bytes_per_second or 0, bytes_per_second is None)
    )
    body = struct.pack(">i", 1) + entity + change + struct.pack(">?", False)  # noqa: FBT003 - validate_only
    return struct.pack(">i", len(header + body)) + header + body


def _error(answer: bytes) -> tuple[int, str]:
    """Return code and message of the only entry, after correlation id, throttle time and count."""
    code, length = struct.unpack_from(">hh", answer, 12)
    return code, answer[16 : 16 + max(0, length)].decode()


def _string(value: str) -> bytes:
    return struct.pack(">h", len(value.encode())) + value.encode()
