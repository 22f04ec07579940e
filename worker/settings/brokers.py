"""``WORKER_KAFKA__BOOTSTRAP_SERVERS``: a list of brokers, and what is wrong with each."""

import re
from ipaddress import IPv6Address

PORT_MAX = 65_535
"""librdkafka takes a greater port modulo 65536 and connects to another one."""


def brokers(text: str) -> str:
    """Check a list of brokers, and remove the spaces around its parts.

    A part without a port is taken: librdkafka connects to port 9092 then. A scheme is refused: librdkafka drops a
    broker whose scheme is not the security protocol, and then has none to connect to.

    Raises:
        ValueError: Its text completes "wants ...", and names all parts that are wrong.
    """
    parts = [part.strip() for part in text.split(",")]
    if faults := [f"{part!r} {fault}" for part in parts if (fault := _fault(part))]:
        raise ValueError(f"host:port, several separated by commas: {'; '.join(faults)}")
    return ",".join(parts)


def _fault(part: str) -> str:
    """Complete the sentence that begins with the part; empty when nothing is wrong."""
    return next((fault for is_wrong, fault in _checks(part) if is_wrong), "")


def _checks(part: str) -> list[tuple[bool, str]]:
    """List what may be wrong, and whether it is; the first that is wrong counts."""
    scheme = re.match("[A-Za-z][A-Za-z0-9_+.-]*://", part)
    foreign = re.search("[/@?#]", part)
    address = re.fullmatch(r"\[(.*)\](?::(.*))?", part)
    host, port = (address[1], address[2]) if address else _host_and_port(part)
    is_port = port is None or (re.fullmatch("[0-9]{1,9}", port) is not None and 1 <= int(port) <= PORT_MAX)
    return [
        (not part, "is an empty part: remove the comma"),
        (
            scheme is not None,
            f"begins with {scheme and scheme[0]}: remove it; WORKER_KAFKA__SECURITY_PROTOCOL sets the protocol",
        ),
        (re.search(r"\s", part) is not None, "holds a space: separate brokers by commas"),
        (foreign is not None, f"holds {foreign and foreign[0]!r}: it may hold a host and a port alone"),
        (address is not None and not _is_ipv6(host), "has no IPv6 address in its brackets"),
        (_is_ipv6(part), f"is an IPv6 address without brackets: write [{part}]:9092"),
        (address is None and ":" in host, "has more than one colon: an IPv6 address wants brackets"),
        (not host, "has no host"),
        (address is None and not set("[]").isdisjoint(host), "has a bracket that belongs around an IPv6 address"),
        (not is_port, f"has the port {port!r}: it must be a number from 1 to {PORT_MAX}"),
    ]


def _host_and_port(part: str) -> tuple[str, str | None]:
    host, colon, port = part.rpartition(":")
    return (host, port) if colon else (part, None)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
